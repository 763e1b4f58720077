"""What the engine costs, counted instead of timed, and that nothing of it grows without bound."""

from __future__ import annotations

import pytest

from igw.flow.api import Dispatched, Item, Outcome, Turn, Weight
from igw.flow.engine import Engine
from igw.flow.settings import Settings
from tests.flow.scenes import Claim, Pool


class Counting(Claim):
    """Counts how often it is weighed."""

    weighed = 0

    def weigh(self) -> Weight:
        """Count."""
        self.weighed += 1
        return super().weigh()


def busy(settings: Settings | None = None) -> tuple[Engine, Pool]:
    """Return an engine whose one endpoint is taken."""
    pool = Pool()
    pool.slots = {"a": 1}
    engine = Engine(settings or Settings(max_requests=None), pool.saturation)
    item = Item(0, "blocker")
    engine.arrive(item, Claim(pool, item), 0.0)
    return engine, pool


def test_whoever_comes_to_a_full_lane_is_not_asked() -> None:
    """Once it is known to be full; when something has changed, one of them is asked for all how much room there is."""
    engine, pool = busy()
    for number in range(1, 1000):
        item = Item(number, f"flow {number}")
        engine.arrive(item, Claim(pool, item), 0.0)
    assert pool.asked == 2
    engine.changed(1.0)
    assert pool.asked == 2
    pool.slots = {"a": 2}
    assert len(engine.changed(2.0)) == 1
    assert pool.asked == 3


def test_those_that_need_more_than_there_is_are_not_asked() -> None:
    """However many wait, and weighed only when somebody has left: until then nothing of them changes."""
    engine, pool = busy()
    pool.slots = {"a": 2}
    claims = [Counting(pool, Item(number, "x"), need="2") for number in range(1, 500)]
    for claim in claims:
        engine.arrive(claim.item, claim, 0.0)
    asked = pool.asked
    for now in (1.0, 2.0, 3.0):
        engine.changed(now)
    assert pool.asked == asked
    assert sum(claim.weighed for claim in claims) == len(claims)
    pool.slots = {"a": 1}
    pool.taken.clear()
    engine.changed(4.0)
    assert pool.asked == asked
    pool.slots = {"a": 3}
    assert len(engine.changed(5.0)) == 1
    assert sum(claim.weighed for claim in claims) <= len(claims) + 48


def test_those_that_do_not_fit_after_all_are_asked_a_bounded_number_of_times() -> None:
    """Where what they need can be had only in two places together, asking tells."""
    engine, pool = busy()
    pool.slots = {"a": 2}

    class Vague(Claim):
        def weigh(self) -> Weight:
            return Weight(self.work)

    for number in range(1, 500):
        item = Item(number, "x")
        engine.arrive(item, Vague(pool, item, need="2"), 0.0)
    asked = pool.asked
    engine.changed(1.0)
    assert pool.asked - asked == 48


def test_flows_that_are_gone_are_forgotten() -> None:
    """After a while, or when there are very many."""
    pool = Pool()
    pool.slots = {"a": 10}
    engine = Engine(Settings(), pool.saturation)
    for number in range(12_000):
        item = Item(number, f"flow {number}")
        engine.arrive(item, Claim(pool, item), 0.0)
        pool.taken.pop(number)
        engine.ended(number, 0.0)
        engine.changed(0.0)
    (band,) = engine._bands
    assert len(band.flows) <= 10_000
    item = Item(12_000, "late")
    engine.arrive(item, Claim(pool, item), 1000.0)
    assert set(band.flows) == {"late"}


def test_priorities_that_are_gone_are_forgotten() -> None:
    """But not those of the file."""
    pool = Pool()
    pool.slots = {"a": 10}
    engine = Engine(Settings(bands={7: Settings().band}), pool.saturation)
    for number in range(100):
        item = Item(number, "x", priority=-number)
        engine.arrive(item, Claim(pool, item), number * 1000.0)
        pool.taken.pop(number)
        engine.ended(number, number * 1000.0)
    assert [band.priority for band in engine._bands] == [7, -99]


def test_an_id_is_used_once_at_a_time() -> None:
    """Waiting or in flight."""
    engine, pool = busy()
    item = Item(0, "x")
    with pytest.raises(ValueError, match="request 0 is here already"):
        engine.arrive(item, Claim(pool, item), 0.0)
    weightless = Item(1, "x", weight=0.0)
    with pytest.raises(ValueError, match="weight"):
        engine.arrive(weightless, Claim(pool, weightless), 0.0)


def test_a_standing_is_told_with_what_it_means() -> None:
    """Position and expected wait; nothing for one that does not wait."""
    engine, pool = busy()
    for number in range(1, 5):
        item = Item(number, "x", priority=number % 2)
        engine.arrive(item, Claim(pool, item), 0.0)
    first, last = engine.standing(1, 0.0), engine.standing(4, 0.0)
    assert first is not None
    assert last is not None
    assert (first.position, last.position) == (1, 4)
    assert last.expected_wait_seconds == pytest.approx(40)
    assert engine.standing(0, 0.0) is None


def test_claims_that_cannot_tell_stop_nobody() -> None:
    """What is wrong with one shows when it is asked for its place."""

    class Mute(Claim):
        def weigh(self) -> Weight:
            raise LookupError

        def room(self, turn: Turn, /) -> float:
            raise LookupError

        def matched_tokens(self) -> float:
            raise LookupError

        def cheapest(self) -> str | None:
            raise LookupError

    engine, pool = busy()
    for number in (1, 2, 3):
        item = Item(number, "x")
        engine.arrive(item, Mute(pool, item, need="1"), 0.0)
    pool.slots = {"a": 10}
    effects = engine.changed(100.0)
    assert [effect.id for effect in effects if isinstance(effect, Dispatched)] == [1, 2, 3]
    assert engine.statistics(100.0).outcomes[Outcome.DISPATCHED, 0] == 4
