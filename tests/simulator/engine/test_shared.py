"""A tier that several engines share: what one computed the others load."""

from __future__ import annotations

import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.engine.shared import SharedTier, shared_tier
from tests.simulator.engine.scenario import config, sequence

PROMPT = list(range(41))


def run(engine: Engine, one: Sequence) -> tuple[Emission, float]:
    """Run *one* on an idle engine; return its last emission and when it began to be computed."""
    engine.submit(one, 0.0)
    now, began = 0.0, -1.0
    while True:
        step = engine.begin_step(now)
        if step is None:
            wakes = engine.wake_at()
            assert wakes is not None
            now = wakes
            continue
        began = now if began < 0 else began
        now += step.duration_seconds
        for emission in engine.finish_step(step):
            if emission.reason:
                return emission, began


def test_another_engine_loads_what_one_has_computed() -> None:
    """All full blocks but the last token's, after the time they take; it counts as cached."""
    settings = config(shared_blocks=100, shared_load_seconds=0.5, shared_load_seconds_per_block=0.01)
    tier = shared_tier(settings.shared_blocks)
    first, second = Engine(settings, shared=tier), Engine(settings, shared=tier)
    emission, began = run(first, sequence("a", PROMPT, 2))
    assert (emission.cached_tokens, began) == (0, 0.0)
    emission, began = run(second, sequence("a", PROMPT, 2))
    assert emission.cached_tokens == 40
    assert began == pytest.approx(0.5 + 10 * 0.01)
    counts = second.statistics()
    assert (counts.external_queries_tokens, counts.external_hits_tokens) == (41, 40)


def test_what_an_engine_has_itself_is_not_loaded() -> None:
    """Only what comes behind it."""
    settings = config(shared_blocks=100, shared_load_seconds=0.5, shared_load_seconds_per_block=0.01)
    tier = shared_tier(settings.shared_blocks)
    first, second = Engine(settings, shared=tier), Engine(settings, shared=tier)
    run(first, sequence("a", PROMPT, 2))
    run(second, sequence("a", PROMPT[:21], 2))
    emission, began = run(second, sequence("b", PROMPT, 2))
    assert emission.cached_tokens == 40
    assert began == pytest.approx(0.5 + 5 * 0.01)


def test_engines_without_a_tier_have_none() -> None:
    """No tier, no loading."""
    assert shared_tier(0) is None
    emission, _ = run(Engine(config()), sequence("a", PROMPT, 2))
    assert emission.cached_tokens == 0


def test_the_tier_keeps_what_was_used_last() -> None:
    """Tails go before heads."""
    tier = SharedTier(4)
    tier.store([1, 2, 3])
    tier.store([7, 8])
    assert len(tier) == 4
    assert tier.lookup([1, 2, 3], 0, 3) == 2
    assert tier.lookup([7, 8, 9], 0, 9) == 2
    assert tier.lookup([7, 8], 1, 2) == 1
    assert tier.lookup([9], 0, 1) == 0
