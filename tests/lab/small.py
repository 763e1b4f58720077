"""Small workloads, servers and policies for the tests of the lab."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from igw.decision import Decision
from igw.facts import Facts
from igw.lab.policies.api import Factory, Policy, Setting
from igw.lab.scenario import Event, Scenario
from igw.lab.workload import Session, Turn, Workload
from igw.lab.world import World
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.scheduling.scheduler import Choice
from igw.simulator.engine.engine import EngineConfig
from igw.simulator.manifest import SimulatorSpec

BLOCK = 64
_ids = itertools.count(1, 100_000)


def spec(replicas: int = 1, **fields: object) -> SimulatorSpec:
    """Return servers of one H100 with an 8B model."""
    return SimulatorSpec(model="m", replicas=replicas, **fields)  # type: ignore[arg-type]


SMALL = spec(2, num_gpu_blocks=256, max_num_seqs=8, max_num_batched_tokens=512)
"""Two servers that are soon full: 4,096 tokens each."""


def config(servers: SimulatorSpec) -> EngineConfig:
    """Return the engine of each of *servers*."""
    return servers.server().engine


def turn(
    prompt: int,
    output: int,
    *,
    first: int | None = None,
    shared: tuple[int, int] | None = None,
    think: float = 0.0,
) -> Turn:
    """Return a turn whose text nobody else has; or begins at block *first*; or begins with the blocks *shared*."""
    blocks = -(-(prompt + output) // BLOCK)
    own = next(_ids) if first is None else first
    runs = ((own, blocks),) if shared is None else (shared, (own, blocks - shared[1]))
    return Turn(prompt, output, runs, think)


def workload(*sessions: Session) -> Workload:
    """Return a workload of *sessions*."""
    return Workload("small", BLOCK, sessions)


def singles(*requests: tuple[float, int, int]) -> Workload:
    """Return sessions of one request each: `(start, prompt tokens, output tokens)`."""
    return workload(
        *(
            Session(f"s{n}", (turn(prompt, output),), start)
            for n, (start, prompt, output) in enumerate(requests)
        )
    )


def world(
    asked: Workload,
    servers: Sequence[SimulatorSpec] | SimulatorSpec = SMALL,
    policy: Factory | None = None,
    events: Sequence[Event] = (),
    seed: int = 1,
    **fields: object,
) -> World:
    """Return a world; start times stay as they are, unlike in a run."""
    each = (servers,) if isinstance(servers, SimulatorSpec) else tuple(servers)
    scenario = Scenario(name="small", workload=asked, servers=each, events=tuple(events), **fields)  # type: ignore[arg-type]
    return World(scenario, asked, policy or Recording, seed)


class Recording:
    """Takes the first candidate, or the one that *turns* says, and remembers what it was shown and told."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.shown: list[tuple[float, Facts]] = []
        self.told: list[tuple[str, Decision, Outcome | None]] = []

    def pick(self, _request: Request, facts: Facts) -> Choice:
        self.shown.append((self.setting.clock(), _kept(facts)))
        return Choice(self.order(facts), {})

    def order(self, facts: Facts) -> list[int]:
        return list(range(len(facts.inflight)))

    def decided(self, decision: Decision) -> None:
        self.told.append(("decided", decision, None))

    def first_token(self, decision: Decision) -> None:
        self.told.append(("first_token", decision, None))

    def ended(self, decision: Decision, outcome: Outcome) -> None:
        self.told.append(("ended", decision, outcome))


class Kept:
    """A factory that keeps what it built."""

    def __init__(self, kind: type[Recording] = Recording) -> None:
        self.kind = kind
        self.built: list[Recording] = []

    def __call__(self, setting: Setting) -> Policy:
        self.built.append(self.kind(setting))
        return self.built[-1]


def _kept(facts: Facts) -> Facts:
    """Return a copy of *facts*: columns are their owners' own and change with the next event."""
    columns = ("waiting", "running", "kv_usage", "inflight", "matched_tokens", "inflight_tokens")
    return msgspec.structs.replace(facts, **{name: getattr(facts, name).copy() for name in columns})
