"""The bounds, against step times that can be worked out by hand and against the engine itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from igw.lab.policies.clairvoyant import Clairvoyant
from igw.lab.policies.table import CLAIRVOYANT, POLICIES
from igw.simulator.engine import sequence as engine
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.hardware.calibration import StepTime
from tests.lab.policies.candidates import endpoints, facts, request, setting
from tests.lab.policies.truths import Known, State

QWEN = StepTime.load("qwen3-32b", 2)


def delay(state: State, prompt: int = 1000, output: int = 1, **fields: Any) -> tuple[float, float, float]:
    """Return (ttft, decode, others) of a request at a server in *state*, in milliseconds."""
    policy = Clairvoyant(setting(truth=Known([state], output), **fields))
    found = policy.delay(endpoints(1)[0], request(prompt), output)
    return tuple(round(seconds * 1e3, 6) for seconds in (found.ttft, found.decode, found.others))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("state", "output", "expected"),
    [
        # Alone: 10 + 10 ms; nine more tokens at 10 + 1 ms.
        (State(), 10, (20, 99, 0)),
        # What is cached needs no time, what is left of the step under way does.
        (State(uncached=500, left=0.007), 10, (22, 99, 0)),
        # Behind 1,000 tokens: both in one step. The one ahead decodes beside for one step of two: half of one other on average.
        (State(backlog=[(1000, 0, 1)]), 1, (30, 0, 0)),
        # Two decode: they wait for 10 ms of prefill each, and 4 steps beside this one's, 1 ms longer for each.
        (State(decoding=[(100, 50), (100, 50)]), 5, (22, 4 * 13, 2 * 10 + 2 * 4)),
        # One of them ends with the prefill's step.
        (State(decoding=[(100, 50), (100, 1)]), 5, (22, 4 * 12, 10 + 4)),
    ],
)
def test_a_delay_is_own_first_token_own_decoding_and_what_others_lose(
    state: State, output: int, expected: tuple[float, float, float]
) -> None:
    """By hand, in milliseconds."""
    assert delay(state, output=output) == expected


def test_a_long_prompt_takes_several_steps() -> None:
    """2,000 tokens, 500 at a time: 4 steps of 15 ms; one that decodes would have had them in 11 ms each."""
    state = State(uncached=2000, decoding=[(100, 1000)])
    assert delay(State(uncached=2000), 2000, max_num_batched_tokens=500) == (60, 0, 0)
    ttft, _, others = delay(state, 2000, max_num_batched_tokens=501)
    assert ttft == 4 * 16
    assert others == 4 * 16 - 4 * 11


def test_who_finds_no_memory_waits_for_those_that_end_first() -> None:
    """1,000 tokens are needed, 300 free: the one with 20 tokens left must end, which frees 720."""
    state = State(decoding=[(600, 200), (700, 20)], free=300)
    assert delay(state)[0] == 20 * 12 + 22
    assert delay(msgspec.structs.replace(state, free=280))[0] == 20 * 12 + 22
    assert delay(msgspec.structs.replace(state, free=279))[0] == 200 * 12 + 22
    assert delay(msgspec.structs.replace(state, free=1000))[0] == 22


def test_who_finds_no_seat_waits_too() -> None:
    """Two seats are taken."""
    state = State(decoding=[(600, 200), (700, 20)])
    assert delay(state, max_num_seqs=2)[0] == 20 * 12 + 22
    assert delay(state, max_num_seqs=3)[0] == 22


def test_the_variants_differ_in_whose_delay_counts() -> None:
    """Cached beside four long answers; 2,000 tokens to compute beside two that are nearly done; 4,500 tokens and idle.

    First tokens after 14, 32 and 55 ms; ends after 1,499, 1,121 and 1,144 ms; the second keeps two others waiting for 20 ms each.
    """
    states = [
        State(uncached=1, decoding=[(1000, 900)] * 4),
        State(uncached=2000, decoding=[(1000, 10)] * 2),
        State(uncached=4500),
    ]
    truth = Known(states, output=100)
    picked = {
        name: POLICIES[name](setting(truth=truth)).pick(request(8000), facts([4, 2, 0])).picked[0]
        for name in CLAIRVOYANT
    }
    assert picked == {"clairvoyant-ttft": 0, "clairvoyant-e2e": 1, "clairvoyant-greedy": 2}


@pytest.mark.parametrize(("prompt", "decoding"), [(900, 0), (900, 20), (20_000, 5), (50_000, 60)])
def test_first_tokens_come_when_the_engine_gives_them(prompt: int, decoding: int) -> None:
    """Against a run of the engine itself, with others decoding: within 6 %."""
    server = Engine(EngineConfig(step_time=QWEN, num_gpu_blocks=19_208))
    now = 0.0
    for number in range(decoding):
        server.submit(engine.Sequence(id=f"d{number}", prompt_tokens=1000, output_tokens=3000), now)
    begun = 0
    while begun < decoding:
        step = server.begin_step(now)
        assert step is not None
        now += step.duration_seconds
        begun += len(server.finish_step(step))  # without streams, an emission is a first token here
    context = [1000 + 1] * decoding
    server.submit(engine.Sequence(id="mine", prompt_tokens=prompt, output_tokens=5), now)
    start, first = now, 0.0
    while not first:
        step = server.begin_step(now)
        assert step is not None
        now += step.duration_seconds
        if any(emission.sequence.id == "mine" for emission in server.finish_step(step)):
            first = now - start
    state = State(uncached=prompt, decoding=[(held, 2999) for held in context])
    policy = Clairvoyant(setting(truth=Known([state], 5, QWEN)))
    assert policy.delay(endpoints(1)[0], request(prompt), 5).ttft == pytest.approx(first, rel=0.06)
