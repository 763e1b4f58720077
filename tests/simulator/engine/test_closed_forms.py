"""What can be computed by hand: one request alone, equal requests in waves, Little's law."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Sequence
from tests.simulator.engine.scenario import STEP_TIME, Scenario, config


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("prompt", "output"), [(1, 1), (100, 3), (2048, 20), (5000, 40), (30_000, 500)])
def test_one_request_alone_has_exactly_the_times_of_the_step_model(
    prompt: int, output: int, stream: bool
) -> None:
    """TTFT is that of its chunks, each later token that of a decode of one."""
    scenario = Scenario(EngineConfig(STEP_TIME, 4000, max_num_batched_tokens=2048))
    scenario.submit(Sequence("a", prompt, output, stream=stream))
    times: dict[int, float] = {}
    while step := scenario.engine.begin_step(scenario.now):
        times |= {each.total_tokens: scenario.now for each in scenario.finish(step)}
    chunks = [(min(2048, prompt - start), start) for start in range(0, prompt, 2048)]
    first = sum(STEP_TIME.seconds([chunk], 0, 0, chunk is chunks[-1]) for chunk in chunks)
    assert times[1] == pytest.approx(first, rel=1e-12)
    gaps = [STEP_TIME.seconds((), 1, prompt + number, 0) for number in range(1, output)]
    assert times[output] == pytest.approx(first + sum(gaps), rel=1e-12)
    if stream:
        moments = [times[number] for number in range(1, output + 1)]
        assert [later - earlier for earlier, later in pairwise(moments)] == pytest.approx(gaps, abs=1e-9)


@given(
    waves=st.integers(1, 4),
    batch=st.integers(1, 8),
    prompt=st.integers(1, 60),
    output=st.integers(1, 40),
)
def test_equal_requests_go_in_waves_of_the_batch(waves: int, batch: int, prompt: int, output: int) -> None:
    """All prompts of a wave fit into one step, then all of it decodes together; the next wave follows at once."""
    settings = EngineConfig(
        STEP_TIME, 1000, max_num_seqs=batch, max_num_batched_tokens=max(8, batch * prompt)
    )
    scenario = Scenario(settings)
    for number in range(waves * batch):
        scenario.submit(Sequence(str(number), prompt, output))
    scenario.run_dry()
    wave = STEP_TIME.seconds([(prompt, 0)] * batch, 0, 0, batch)
    wave += sum(STEP_TIME.seconds((), batch, batch * (prompt + made), 0) for made in range(1, output))
    for number in range(waves * batch):
        assert scenario.ends[str(number)] == pytest.approx((number // batch + 1) * wave, rel=1e-9)


@settings(deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.floats(0.0, 0.05), st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=30
    )
)
def test_little_s_law_holds_over_a_run(arrivals: list[tuple[float, int, int]]) -> None:
    """Mean number here = arrival rate x mean time here, over a run that begins and ends empty, with preemptions too."""
    engine, now = Engine(config(num_gpu_blocks=24)), 0.0
    pending, moment = [], 0.0
    for number, (gap, prompt, output) in enumerate(arrivals):
        moment += gap
        pending.append((moment, Sequence(str(number), prompt, output)))
    integral, since, stays = 0.0, 0.0, []

    def pass_until(time: float) -> None:
        nonlocal integral, since
        state = engine.statistics()
        integral += (state.running + state.waiting) * (time - since)
        since = time

    arrived = {each.id: moment for moment, each in pending}
    while pending or engine.statistics().running or engine.statistics().waiting:
        step = engine.begin_step(now)
        end = pending[0][0] if step is None else now + step.duration_seconds
        while pending and pending[0][0] <= end:
            moment, each = pending.pop(0)
            pass_until(moment)
            engine.submit(each, moment)
        pass_until(end)
        now = end
        if step is not None:
            stays += [now - arrived[each.sequence.id] for each in engine.finish_step(step) if each.reason]
    assert len(stays) == len(arrivals)
    rate, mean_stay, mean_number = len(stays) / now, sum(stays) / len(stays), integral / now
    assert mean_number == pytest.approx(rate * mean_stay, rel=1e-9)
