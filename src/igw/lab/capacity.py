"""How many requests per second a pool can take: found by offering more until too many wait too long.

`python -m igw.lab.capacity` finds the figures that `suite` is built on. How a load of a given rate is made is in `offered`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from statistics import median

import msgspec

from igw.lab.offered import POOLS, at_rate
from igw.lab.records import Fate, Run
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.suite import SUITES, Plan
from igw.lab.workload import Workload
from igw.simulator.manifest import SimulatorSpec

REFERENCE_POLICY = "upstream-default"
"""Loads are shares of what the upstream chart's default configuration can take."""

TTFT_SECONDS = 2.0
"""A pool keeps up while half of the requests have their first token within this time, which is also what goodput asks for."""

_PRECISION = 1.03
_MOST_DOUBLINGS = 20


class Found(msgspec.Struct, frozen=True):
    """The highest rate found that the pool keeps up with, and the median TTFT of every rate tried, in order."""

    rate: float
    tried: tuple[tuple[float, float], ...]


def capacity(
    offered: Callable[[float], Workload],
    servers: tuple[SimulatorSpec, ...],
    start_rate: float,
    *,
    policy: str = REFERENCE_POLICY,
    seed: int = 0,
) -> Found:
    """Double *start_rate* until the pool no longer keeps up, then halve the distance until it is 3 %.

    ValueError if it keeps up with everything, or not even with *start_rate*.
    """
    tried: list[tuple[float, float]] = []

    def keeps_up(rate: float) -> bool:
        scenario = Scenario(name="capacity", workload=offered(rate), servers=servers, warmup_share=0.1)
        seconds = median_ttft(run(scenario, policy, seed))
        tried.append((rate, seconds))
        return seconds <= TTFT_SECONDS

    high = start_rate
    while keeps_up(high):
        high *= 2
        if len(tried) > _MOST_DOUBLINGS:
            raise ValueError(f"the pool keeps up even with {high / 2:g} requests per second")
    if high == start_rate:
        raise ValueError(
            f"the pool does not even keep up with {start_rate:g} requests per second: start lower"
        )
    low = high / 2
    while high / low > _PRECISION:
        middle = sqrt(low * high)
        low, high = (middle, high) if keeps_up(middle) else (low, middle)
    return Found(low, tuple(tried))


def median_ttft(run: Run) -> float:
    """Return the median TTFT in seconds after the warm-up; one that never came counts as infinite. ValueError without requests."""
    return median(
        each.ttft_seconds if each.fate is Fate.COMPLETE else float("inf")
        for each in run.records
        if not each.warmup
    )


def needed() -> list[Plan]:
    """Return one plan for each source and pool whose capacity the suites are built on."""
    plans = {(each.source.name, each.pool): each for suite in SUITES.values() for each in suite if each.load}
    return list(plans.values())


def main() -> None:
    """Print the capacities that the suites need, with all that was tried; it takes some minutes."""
    for plan in needed():
        found = capacity(partial(at_rate, plan.source, seed=0), POOLS[plan.pool], plan.source.easy_rate)
        tried = ", ".join(f"{rate:.1f}/s {seconds:.2f} s" for rate, seconds in found.tried)
        print(f'("{plan.source.name}", "{plan.pool}"): {found.rate:.2f},  # {tried}', flush=True)


if __name__ == "__main__":
    main()
