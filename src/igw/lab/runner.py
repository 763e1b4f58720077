"""A scenario, a policy and a seed -> a run: a pure function of the three. Several at once, in processes, are `jobs`."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from igw.lab import catalogue
from igw.lab.policies.api import Factory
from igw.lab.records import Record, Run
from igw.lab.scenario import Scenario
from igw.lab.shaping import jittered
from igw.lab.world import World


def run(
    scenario: Scenario,
    policy: str | Factory,
    seed: int,
    look: Callable[[float], bool] | None = None,
) -> Run:
    """Run *policy*, a name or path for `catalogue.find` or what that returns, on *scenario*.

    The same arguments give the same run. *look* is called now and then with the share that is done, 0 to 1; when it returns False the run
    ends there, marked as partial.

    Raises:
        ConfigError: there is no such policy, or its file cannot be used.
    """
    name, factory = (policy, catalogue.find(policy)) if isinstance(policy, str) else (_name(policy), policy)
    turns = sum(1 for _ in scenario.workload.turns()) or 1
    with _seeded(seed), _rarely_collected():
        world = World(scenario, jittered(scenario.workload, seed), factory, seed)
        whole = world.run(None if look is None else lambda over: look(over / turns))
    return Run(
        policy=name,
        seed=seed,
        records=_marked(world.records(), scenario, turns),
        samples=tuple(world.samples),
        servers=tuple(server.total() for server in world.servers),
        virtual_seconds=world.clock.now,
        steps=sum(server.steps for server in world.servers),
        partial=not whole,
    )


def _name(factory: Factory) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _marked(records: list[Record], scenario: Scenario, turns: int) -> tuple[Record, ...]:
    """Return *records*, those of the warm-up marked."""
    first = int(scenario.warmup_share * turns)
    return tuple(
        msgspec.structs.replace(record, warmup=True)
        if number < first or record.arrived < scenario.warmup_seconds
        else record
        for number, record in enumerate(records)
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Have the product's own draws come from *seed*: it breaks ties and numbers decisions by the module `random`."""
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(f"igw {seed}")
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Look for cycles less often: a run leaves few, and looking through a large workload costs more than the run."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
