"""How many requests per second a pool can answer: found by offering more until no more come out.

`python -m igw.lab.capacity` finds the figures that `suite` is built on. The load of a scenario is set in `offered`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from igw.lab.records import Fate, Run
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.workload import Workload
from igw.simulator.manifest import SimulatorSpec

REFERENCE_POLICY = "upstream-default"
"""Loads are shares of what the upstream chart's default configuration can take."""


class Found(msgspec.Struct, frozen=True):
    """What was offered and what came out, requests per second, in the order tried."""

    tried: tuple[tuple[float, float], ...]

    @property
    def rate(self) -> float:
        """The most that came out: the capacity."""
        return max(answered for _, answered in self.tried)


def capacity(
    offered: Callable[[float], Workload],
    servers: tuple[SimulatorSpec, ...],
    start_rate: float,
    *,
    policy: str = REFERENCE_POLICY,
    seed: int = 0,
) -> Found:
    """Offer *start_rate* and then ever twice as much, until the answers per second grow by less than 5 %.

    ValueError if that takes more than 20 doublings: then *offered* does not do what it should.
    """
    tried: list[tuple[float, float]] = []
    rate = start_rate
    for _ in range(20):
        scenario = Scenario(name="capacity", workload=offered(rate), servers=servers)
        tried.append((rate, answers_per_second(run(scenario, policy, seed))))
        if len(tried) > 1 and tried[-1][1] < tried[-2][1] * 1.05:
            return Found(tuple(tried))
        rate *= 2
    raise ValueError(f"answers per second still grow when {rate / 2:g} requests per second are offered")


def answers_per_second(run: Run) -> float:
    """Return the rate of complete answers between the first and the last tenth of them: start and end are left out."""
    ends = sorted(each.arrived + each.e2e_seconds for each in run.records if each.fate is Fate.COMPLETE)
    tenth = len(ends) // 10
    inner = ends[tenth : len(ends) - tenth]
    if len(inner) < 2 or inner[-1] == inner[0]:
        raise ValueError(f"{len(ends)} answers are too few for a rate")
    return (len(inner) - 1) / (inner[-1] - inner[0])
