"""What one run is: servers, a workload, pickers, and what happens on the way. Running it is `runner`."""

from __future__ import annotations

from typing import Literal

import msgspec

from igw.lab.workload import Workload
from igw.simulator.manifest import Hardware, SimulatorSpec

DEFAULT_SERVERS = (
    SimulatorSpec(
        model="qwen3-32b", replicas=8, hardware=Hardware(calibration="qwen3-32b", tensor_parallel=2)
    ),
)
"""Eight servers of two H100 each, as in the published measurements the simulator is held against."""


class Lose(msgspec.Struct, frozen=True, tag="lose"):
    """A server goes down: its answers are lost and its cache is gone. It stays in the pool, as a crashed pod does for a while."""

    server: int
    at_seconds: float


class Restore(msgspec.Struct, frozen=True, tag="restore"):
    """A lost server comes back, with an empty cache."""

    server: int
    at_seconds: float


class Add(msgspec.Struct, frozen=True, tag="add"):
    """Servers join the pool; they are numbered on."""

    spec: SimulatorSpec
    at_seconds: float


class Slow(msgspec.Struct, frozen=True, tag="slow"):
    """For a while a server runs at *speed* times its own: 0.3 is less than a third."""

    server: int
    speed: float
    at_seconds: float
    until_seconds: float


Event = Lose | Restore | Add | Slow


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One run but for policy and seed. Servers are numbered in the order of *servers*, replica by replica, from 0."""

    name: str
    workload: Workload
    servers: tuple[SimulatorSpec, ...] = DEFAULT_SERVERS
    events: tuple[Event, ...] = ()
    pickers: int = 1
    """Pickers that do not talk to each other; every one scrapes every server."""
    sharing: Literal["turns", "random"] = "turns"
    """How requests are spread over the pickers."""
    signals: Literal["lean", "full"] = "lean"
    """Lean: the picker learns of an answer at its end, from the proxy's log. Full: also of its first token, and at once."""
    scrape_interval_seconds: float = 0.05
    warmup_seconds: float = 0.0
    """Requests that arrive earlier are marked as warm-up and counted in no figure."""
    warmup_share: float = 0.0
    """So are the first ones by arrival, up to this share of all requests of the workload."""
    limit_seconds: float | None = None
    """When the run is cut off; without it, it lasts until every answer is there."""
    retries: int = 3
    """How often a session repeats a request that was lost or rejected, a second later each, before it gives up."""
    sample_seconds: float = 5.0
    """How often the state of all servers is kept."""

    def __post_init__(self) -> None:
        count = sum(spec.replicas for spec in self.servers)
        added = sum(event.spec.replicas for event in self.events if isinstance(event, Add))
        if not count:
            raise ValueError("a scenario needs at least one server")
        for event in self.events:
            if not isinstance(event, Add) and not 0 <= event.server < count + added:
                raise ValueError(f"there is no server {event.server}: there are 0 to {count + added - 1}")
            if isinstance(event, Slow) and event.speed <= 0:
                raise ValueError(f"a speed is above 0, not {event.speed}")
        for spec in self.servers + tuple(event.spec for event in self.events if isinstance(event, Add)):
            _check_blocks(self.workload.block_tokens, spec.block_size)
        for name, least in (("pickers", 1), ("retries", 0), ("warmup_seconds", 0.0), ("warmup_share", 0.0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("scrape_interval_seconds", "sample_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


def _check_blocks(of_workload: int, of_server: int) -> None:
    if of_workload % of_server and of_server % of_workload:
        raise ValueError(
            f"the workload is written in blocks of {of_workload} tokens and a server has blocks of {of_server}: "
            "one must be a multiple of the other"
        )
