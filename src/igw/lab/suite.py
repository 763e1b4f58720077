"""Named suites of scenarios: `policy`, which policies are judged by, and `stress`, what goes on beyond steady load.

How a load is made is in `offered`; the capacities that loads are shares of were found by `capacity`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from igw.config.decode import nearest
from igw.errors import ConfigError
from igw.lab import offered, shaping
from igw.lab.offered import (
    AGENTS,
    ARENA,
    AZURE_CODE,
    AZURE_CONV,
    CLAUDE_CODE,
    CONVERSATION,
    DEEPSEEK_R1,
    LADDER,
    M_SMALL,
    POOLS,
    PoolName,
    Source,
)
from igw.lab.scenario import Add, Event, Lose, Restore, Scenario, Slow
from igw.lab.workload import Workload

CAPACITY: dict[tuple[str, PoolName], float] = {
    ("conversation", "even"): 4.76,
    ("conversation", "mixed"): 3.83,
    ("conversation", "one-slow"): 4.18,
    ("azure-conv", "even"): 94.52,
    ("azure-conv", "mixed"): 79.48,
    ("azure-code", "even"): 26.91,
    ("deepseek-r1", "even"): 15.32,
    ("deepseek-r1", "mixed"): 14.05,
    ("m-small", "even"): 1448.15,
}
"""Requests per second, by source and pool: the highest rate at which half of the requests have their first token within 2 s under the upstream
chart's default configuration, as `python -m igw.lab.capacity` finds it to 3 %.
"""

USERS_SECONDS = 3600.0
"""How long closed loops run; the sessions would go on for hours."""

Happenings = Callable[[float], tuple[Event, ...]]
"""Seconds from first to last start -> what happens."""


def _nothing(_seconds: float) -> tuple[Event, ...]:
    return ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of a suite, before traces are read."""

    name: str
    source: Source
    load: float = 0.0
    """Share of the pool's capacity that arrives."""
    rate: float = 0.0
    """Requests per second, where that is what the benchmark's name says."""
    users: int = 0
    """Of a closed loop."""
    pool: PoolName = "even"
    ramp_from: float = 0.0
    """The rate rises evenly from this share of the capacity to `load`."""
    burst_cv: float = 0.0
    """Gaps between arrivals are drawn anew with this coefficient of variation."""
    happens: Happenings = _nothing
    pickers: int = 1

    def scenario(self, seed: int, traces: Path | None = None) -> Scenario:
        """Return the scenario; *seed* draws what a trace leaves open, *traces* is the folder of trace files.

        A tenth of an open loop, or the first tenth of a closed loop's time, is warm-up.
        """
        workload = self._workload(seed, traces)
        seconds = workload.sessions[-1].start_seconds
        return Scenario(
            name=self.name,
            workload=msgspec.structs.replace(workload, name=self.name),
            servers=POOLS[self.pool],
            events=self.happens(USERS_SECONDS if self.users else seconds),
            pickers=self.pickers,
            warmup_share=0.0 if self.users else 0.1,
            warmup_seconds=USERS_SECONDS / 10 if self.users else 0.0,
            limit_seconds=USERS_SECONDS if self.users else None,
        )

    def _workload(self, seed: int, traces: Path | None) -> Workload:
        if self.users:
            return offered.by_users(self.source, self.users, seed, traces)
        unit = CAPACITY[self.source.name, self.pool] if self.load else self.rate
        load = self.load or 1.0
        if self.ramp_from:
            return shaping.ramped(offered.at_rate(self.source, unit, seed, traces), self.ramp_from, load)
        workload = offered.at_rate(self.source, unit * load, seed, traces)
        return shaping.bursty(workload, self.burst_cv, seed) if self.burst_cv else workload


def _steady(source: Source, *percents: int, pool: PoolName = "even") -> tuple[Plan, ...]:
    first = "" if pool == "even" else f"{pool}-"
    return tuple(
        Plan(name=f"{first}{source.name}-{percent}", source=source, load=percent / 100, pool=pool)
        for percent in percents
    )


def _closed(source: Source, *users: int, pool: PoolName = "even") -> tuple[Plan, ...]:
    first = "" if pool == "even" else f"{pool}-"
    return tuple(
        Plan(name=f"{first}{source.name}-{count}-users", source=source, users=count, pool=pool)
        for count in users
    )


def _rates(source: Source, *rates: int) -> tuple[Plan, ...]:
    return tuple(Plan(name=f"{source.name}-{rate}", source=source, rate=rate) for rate in rates)


def _lost_and_added(seconds: float) -> tuple[Event, ...]:
    """A third of the way through a server is lost for good, two thirds through a new one joins."""
    (spec,) = POOLS["even"]
    fresh = msgspec.structs.replace(spec, replicas=1)
    return (Lose(3, seconds / 3), Add(fresh, 2 * seconds / 3))


def _restarted(seconds: float) -> tuple[Event, ...]:
    """A server crashes a third of the way through and is back two minutes later, its cache empty."""
    return (Lose(3, seconds / 3), Restore(3, seconds / 3 + 120.0))


def _slowed(seconds: float) -> tuple[Event, ...]:
    """A server runs at less than a third of its speed in the middle third."""
    return (Slow(0, 0.3, seconds / 3, 2 * seconds / 3),)


SUITES: dict[str, tuple[Plan, ...]] = {
    "policy": (
        *_steady(CONVERSATION, 50, 80, 95, 120),
        *_closed(CLAUDE_CODE, 16, 24, 40),
        *_steady(AZURE_CONV, 50, 80, 100),
        *_steady(AZURE_CODE, 50, 80),
        *_steady(DEEPSEEK_R1, 80, 95),
        *_steady(M_SMALL, 80),
        *_rates(LADDER, 20, 40, 60),
        *_steady(CONVERSATION, 80, pool="mixed"),
        *_closed(CLAUDE_CODE, 24, pool="mixed"),
        *_steady(AZURE_CONV, 80, pool="mixed"),
        *_steady(DEEPSEEK_R1, 80, pool="mixed"),
    ),
    "loads": (
        *_steady(CONVERSATION, 50, 80, 95, 120),
        *_steady(AZURE_CONV, 50, 80, 95, 120),
        *_steady(AZURE_CODE, 50, 80, 95, 120),
        *_steady(DEEPSEEK_R1, 50, 80, 95, 120),
        *_steady(M_SMALL, 50, 80, 95, 120),
        *_closed(CLAUDE_CODE, 16, 24, 32, 40),
        *_closed(AGENTS, 8, 23),
        *_rates(ARENA, 60),
        *_steady(CONVERSATION, 50, 80, 95, 120, pool="mixed"),
    ),
    "stress": (
        Plan(name="conversation-ramp-150", source=CONVERSATION, ramp_from=0.5, load=1.5),
        Plan(name="conversation-bursts", source=CONVERSATION, load=0.8, burst_cv=4.0),
        Plan(name="conversation-lost-and-added", source=CONVERSATION, load=0.8, happens=_lost_and_added),
        Plan(name="conversation-restarted", source=CONVERSATION, load=0.8, happens=_restarted),
        Plan(name="conversation-slowed", source=CONVERSATION, load=0.8, happens=_slowed),
        Plan(name="conversation-4-pickers", source=CONVERSATION, load=0.8, pickers=4),
        Plan(name="claude-code-4-pickers", source=CLAUDE_CODE, users=24, pickers=4),
        Plan(name="ladder-4-pickers", source=LADDER, rate=40, pickers=4),
        *_steady(CONVERSATION, 80, pool="one-slow"),
    ),
}
"""`policy`: 22 scenarios of steady load. `loads`: every trace at half, most, nearly all and more than all that the pool takes; closed loops have
users instead, and `arena` is too small a trace to load eight servers. `stress`: ramp, bursts, servers that go and come, pickers that do not talk, uneven pools."""


def suite(name: str) -> tuple[Plan, ...]:
    """Return the plans of a suite; ConfigError with the nearest name for one that is not there."""
    if name not in SUITES:
        raise ConfigError(f"suite {name!r}", "is not known", nearest(name, SUITES))
    return SUITES[name]
