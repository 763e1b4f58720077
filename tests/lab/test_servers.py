"""Simulated servers in virtual time: closed forms."""

from __future__ import annotations

import math

import pytest

from igw.endpoint import Endpoint
from igw.lab.clock import VirtualClock
from igw.lab.servers import Server
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from tests.lab.small import config, spec

ONE = spec()


class Listener:
    """An answer that writes down when it was told what."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.told: list[tuple[str, float]] = []
        self.last: Emission | None = None

    def started(self, emission: Emission, /) -> None:
        assert emission.total_tokens == 1
        self.told.append(("started", self.clock.now))

    def completed(self, emission: Emission, /) -> None:
        self.last = emission
        self.told.append(("completed", self.clock.now))

    def refused(self) -> None:
        self.told.append(("refused", self.clock.now))

    def lost(self) -> None:
        self.told.append(("lost", self.clock.now))


def server_of(clock: VirtualClock, speed: float = 1.0, **fields: int) -> Server:
    return Server(0, Endpoint.at("10.0.0.1", 8000), config(spec(**fields)), speed, clock)


def sequence(name: str, prompt: int, output: int) -> Sequence:
    return Sequence(name, prompt, output)


def drained(clock: VirtualClock) -> None:
    while clock.advance(math.inf):
        pass


@pytest.mark.parametrize(("prompt", "output"), [(1000, 1), (1000, 50), (20_000, 5)])
def test_one_request_alone_takes_what_the_step_model_says(prompt: int, output: int) -> None:
    """The first token comes after front end and prefill, the others one decode step apart."""
    clock = VirtualClock()
    server, listener = server_of(clock), Listener(clock)
    server.send(sequence("a", prompt, output), listener)
    drained(clock)
    price, most = config(ONE).step_time.seconds, config(ONE).max_num_batched_tokens
    chunks = [(min(most, prompt - at), at) for at in range(0, prompt, most)]
    first = FRONTEND_SECONDS + sum(price([chunk], 0, 0, sum(chunk) == prompt) for chunk in chunks)
    last = first + sum(price([], 1, prompt + n, 0) for n in range(1, output))
    assert listener.told == [("started", pytest.approx(first)), ("completed", pytest.approx(last))]
    assert listener.last is not None
    assert listener.last.total_tokens == output
    assert server.total().busy_seconds == pytest.approx(last - FRONTEND_SECONDS)
    assert server.total().output_tokens == output


def test_requests_of_one_instant_share_their_first_step() -> None:
    """Equal requests fill the batch: they begin and end together."""
    clock = VirtualClock()
    server = server_of(clock)
    listeners = [Listener(clock) for _ in range(4)]
    for number, listener in enumerate(listeners):
        server.send(sequence(str(number), 1000, 3), listener)
    drained(clock)
    price = config(ONE).step_time.seconds
    first = FRONTEND_SECONDS + price([(1000, 0)] * 4, 0, 0, 4)
    last = first + price([], 4, 4004, 0) + price([], 4, 4008, 0)
    for listener in listeners:
        assert listener.told == [("started", pytest.approx(first)), ("completed", pytest.approx(last))]


def test_speed_and_pace_divide_every_duration() -> None:
    """A server of twice the speed at half its pace takes the usual time for steps, half of it for the front end."""
    clock, slowed = VirtualClock(), VirtualClock()
    usual, other = Listener(clock), Listener(slowed)
    server_of(clock).send(sequence("a", 1000, 10), usual)
    server = server_of(slowed, speed=2.0)
    server.run_at(0.5)
    server.send(sequence("a", 1000, 10), other)
    drained(clock)
    drained(slowed)
    for (_, here), (_, there) in zip(usual.told, other.told, strict=True):
        assert here - there == pytest.approx(FRONTEND_SECONDS / 2)


def test_a_lost_server_loses_what_is_in_the_front_end_and_what_runs() -> None:
    """Each answer is told once; nothing of the old life reaches the new one."""
    clock = VirtualClock()
    server = server_of(clock)
    running, arriving, later = Listener(clock), Listener(clock), Listener(clock)
    server.send(sequence("a", 1000, 1000), running)
    clock.at(0.99, server.send, sequence("b", 1000, 10), arriving)
    clock.at(1.0, server.lose)
    clock.at(1.0, server.come_back)
    clock.at(1.0, server.send, sequence("a", 1000, 2), later)
    drained(clock)
    assert [what for what, _ in running.told] == ["started", "lost"]
    assert arriving.told == [("lost", 1.0)]
    assert [what for what, _ in later.told] == ["started", "completed"]
    total = server.total()
    assert total.requests == 3
    assert total.computed_tokens == 2000
    assert server.engine.blocks.free == server.engine.blocks.count


def test_a_request_longer_than_the_context_is_refused() -> None:
    """As a real server does with a 400."""
    clock = VirtualClock()
    server, listener = server_of(clock, max_model_len=512), Listener(clock)
    server.send(sequence("a", 500, 100), listener)
    drained(clock)
    assert listener.told == [("refused", FRONTEND_SECONDS)]
    assert not server.arriving


def test_what_kv_is_loaded_from_elsewhere_wakes_an_idle_server() -> None:
    """With nothing else to do the server waits until the keys and values are there."""
    clock = VirtualClock()
    server, listener = server_of(clock), Listener(clock)
    server.send(Sequence("a", 1000, 2, remote_tokens=999, load_seconds=3.0), listener)
    drained(clock)
    assert [what for what, _ in listener.told] == ["started", "completed"]
    assert listener.told[0][1] > FRONTEND_SECONDS + 3.0
