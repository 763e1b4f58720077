"""The real state of the servers, against a state worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from igw.endpoint import Endpoint
from igw.lab.asked import Asked
from igw.lab.clock import VirtualClock
from igw.lab.policies.round_robin import RoundRobin
from igw.lab.servers import Server
from igw.lab.truth import Truths
from igw.lab.workload import Session, Turn
from igw.simulator.engine.sequence import Emission
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from tests.lab.small import BLOCK, SMALL, config, singles, spec, turn, world

ONE = spec(max_num_batched_tokens=512, max_num_seqs=2)
HERE = Endpoint.at("10.0.0.1", 8000)


class Deaf:
    """An answer nobody waits for."""

    def started(self, _emission: Emission, /) -> None: ...

    def completed(self, _emission: Emission, /) -> None: ...

    def refused(self) -> None: ...

    def lost(self) -> None: ...


class Scene:
    """One server, and requests sent to it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = Server(0, HERE, config(ONE), 1.0, self.clock)
        self.truths = Truths({HERE.hostport: self.server}, self.clock)
        self.sent = 0

    def asked(self, wanted: Turn) -> Asked:
        self.sent += 1
        asked = Asked(Session("s", (wanted,)), wanted, BLOCK, str(self.sent))
        self.truths.expect(asked)
        return asked

    def send(self, wanted: Turn) -> Asked:
        asked = self.asked(wanted)
        self.server.send(asked.sequence(16), Deaf())
        return asked

    def until(self, time: float) -> None:
        while self.clock.advance(time):
            pass


def test_an_idle_server_owes_nothing() -> None:
    """All memory is free and every token is to be computed."""
    scene = Scene()
    asked = scene.asked(turn(1000, 10))
    request = asked.request("m", "p")
    assert scene.truths.uncached_tokens(HERE, request) == 1000
    assert scene.truths.output_tokens(request) == 10
    assert scene.truths.prefill_backlog(HERE) == []
    assert scene.truths.decoding(HERE) == []
    assert scene.truths.free_tokens(HERE) == scene.server.kv_capacity_tokens
    assert scene.truths.step_left_seconds(HERE) == 0.0


def test_a_prompt_counts_from_the_front_end_on_and_the_step_under_way_as_done() -> None:
    """1,000 tokens in steps of 512: before, during the first step, during the second, decoding."""
    scene = Scene()
    scene.send(turn(1000, 10))
    assert scene.truths.prefill_backlog(HERE) == [(1000, 0, 10)]
    scene.until(FRONTEND_SECONDS)
    assert scene.truths.prefill_backlog(HERE) == [(488, 512, 10)]
    assert scene.truths.step_left_seconds(HERE) == pytest.approx(
        scene.truths.step_seconds(HERE, [(512, 0)], 0, 0, 0)
    )
    scene.clock.advance(math.inf)
    assert scene.truths.prefill_backlog(HERE) == []
    assert scene.truths.decoding(HERE) == [(1000, 10)]
    scene.clock.advance(math.inf)
    assert scene.truths.decoding(HERE) == [(1001, 9)]
    assert scene.truths.free_tokens(HERE) == scene.server.kv_capacity_tokens - 1008


def test_those_that_wait_come_after_those_that_run() -> None:
    """The third has no seat; what it shares with the first is found in the cache."""
    scene = Scene()
    first = turn(512, 1000)
    scene.send(first)
    scene.until(2.0)
    scene.send(turn(2000, 10))
    scene.until(2.0 + FRONTEND_SECONDS)
    longer = Turn(600, 10, (*first.runs[:1],))
    waits = scene.send(longer)
    backlog = scene.truths.prefill_backlog(HERE)
    assert backlog[1] == (600 - 592, 592, 10)  # the last block is computed, as its last token has to be
    scene.until(scene.clock.now + FRONTEND_SECONDS)
    # Two steps of 511 tokens beside the one that decodes, the second under way.
    assert scene.truths.prefill_backlog(HERE) == [(2000 - 1022, 1022, 10), (8, 592, 10)]
    assert scene.truths.uncached_tokens(HERE, waits.request("m", "p")) == 8


def test_a_slow_server_takes_longer_for_every_step() -> None:
    """What a step would take there now."""
    scene = Scene()
    usual = scene.truths.step_seconds(HERE, [(512, 0)], 1, 100, 1)
    scene.server.run_at(0.5)
    assert scene.truths.step_seconds(HERE, [(512, 0)], 1, 100, 1) == 2 * usual


def test_what_is_over_is_forgotten() -> None:
    """The truth does not grow with the run."""
    scene = Scene()
    asked = scene.send(turn(100, 1))
    scene.truths.prefill_backlog(HERE)
    scene.truths.forget(asked.id)
    with pytest.raises(KeyError):
        scene.truths.output_tokens(asked.request("m", "p"))


def test_everybody_is_either_to_be_computed_or_decoding() -> None:
    """At every moment of a run on servers that are too small, preemptions included."""
    dice = random.Random(1)
    arrivals = [(n * 0.05, dice.randrange(50, 1500), dice.randrange(1, 400)) for n in range(60)]
    running = world(singles(*arrivals), SMALL, RoundRobin)
    seen = {server.number: False for server in running.servers}
    while running.clients.going and running.clock.advance(math.inf):
        for server in running.servers:
            now = server.statistics()
            backlog = running.truths.prefill_backlog(server.endpoint)
            decoding = running.truths.decoding(server.endpoint)
            assert len(backlog) + len(decoding) == now.running + now.waiting + len(server.arriving)
            assert all(new > 0 and earlier >= 0 and left > 0 for new, earlier, left in backlog)
            assert all(left > 0 for _, left in decoding)
            assert running.truths.free_tokens(server.endpoint) >= 0
            seen[server.number] |= bool(backlog and decoding)
    assert all(seen.values())
    assert sum(server.total().preemptions for server in running.servers) > 0
