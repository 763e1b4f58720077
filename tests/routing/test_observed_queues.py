"""What queues take for what they do: for letting in, for a look, for giving up what runs."""

from __future__ import annotations

import itertools

from igw.flow.api import Item
from igw.flow.engine import Engine
from igw.flow.revocation import RevocationSettings
from igw.flow.settings import Settings
from igw.routing.observed_queues import ObservedQueues
from igw.telemetry.families import Families
from tests.flow.scenes import Claim, Pool

PREFIX = "llm_d_epp_flow_control_"


class Measured:
    """An engine whose pool has slots; every look at the clock takes a millisecond."""

    def __init__(self, slots: int = 1, **settings: object) -> None:
        self.families, ticks = Families(), itertools.count()
        self.pool = Pool()
        self.pool.slots = {"a": slots}
        queues = ObservedQueues(self.families, lambda: next(ticks) / 1000)
        self.engine: Engine = queues.engine("default/p", Settings(**settings), self.pool.saturation)  # type: ignore[arg-type]

    def arrive(self, number: int, now: float = 0.0, **fields: int) -> None:
        """Let a request come."""
        item = Item(number, "x", **fields)  # type: ignore[arg-type]
        self.engine.arrive(item, Claim(self.pool, item), now)

    def end(self, number: int, now: float = 0.0) -> None:
        """Let one end."""
        self.pool.taken.pop(number)
        self.engine.ended(number, now)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample."""
        return self.families.registry.get_sample_value(PREFIX + name, labels)


def test_letting_in_is_timed_by_what_came_of_it() -> None:
    """Upstream's name for one that waits."""
    measured = Measured(max_requests=1)
    for number in range(3):
        measured.arrive(number)
    seconds = "request_enqueue_duration_seconds"
    for outcome in ("Dispatched", "NotYetFinalized", "RejectedCapacity"):
        labels = {"fairness_id": "x", "priority": "0", "outcome": outcome}
        assert measured.value(f"{seconds}_count", **labels) == 1
        assert measured.value(f"{seconds}_sum", **labels) == 0.001


def test_a_look_is_timed_where_somebody_waits() -> None:
    """Else there is none."""
    measured = Measured()
    measured.arrive(1)
    measured.engine.changed(0.0)
    cycle = "dispatch_cycle_duration_seconds_count"
    assert measured.value(cycle) == 0
    measured.arrive(2)
    measured.end(1)
    measured.engine.changed(1.0)
    assert measured.value(cycle) == 1
    assert len(measured.engine) == 0


def test_giving_up_is_timed_to_its_end() -> None:
    """One that ends after the timeout is not confirmed. What it was for is counted by priority, how far above the ceiling is told."""
    measured = Measured(1, revocation=RevocationSettings(timeout_seconds=10.0))
    measured.arrive(1, priority=-1)
    measured.arrive(2, priority=5)
    measured.engine.changed(1.0)
    statistics = measured.engine.statistics(1.0)
    assert (dict(statistics.revocations_issued), statistics.reclaim_target) == ({5: 1}, 0.0)
    measured.end(1, 3.0)
    confirmed = "revocation_confirmation_seconds"
    assert measured.value(f"{confirmed}_count", inference_pool="default/p") == 1
    assert measured.value(f"{confirmed}_sum", inference_pool="default/p") == 2.0
    measured.engine.changed(3.0)
    measured.end(2, 3.0)
    measured.arrive(3, 4.0, priority=-1)
    measured.arrive(4, 4.0, priority=5)
    measured.engine.changed(4.0)
    measured.engine.cancel(4, 5.0)  # else it would be given up once more
    measured.engine.expire(14.0)
    measured.end(3, 15.0)
    assert measured.value(f"{confirmed}_count", inference_pool="default/p") == 1
    assert measured.engine.statistics(15.0).revocations_timed_out == 1


def test_how_far_above_the_ceiling_a_pool_was_is_told() -> None:
    """Also when nobody could be given up any more."""
    measured = Measured(1, revocation=RevocationSettings())
    measured.arrive(1, priority=-1)
    measured.pool.taken[9] = ("a", 1)
    measured.arrive(2, priority=5)
    measured.engine.changed(1.0)
    assert measured.engine.statistics(1.0).reclaim_target == 1.0
