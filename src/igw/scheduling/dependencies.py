"""Which plugin needs the facts of which producer: missing ones are added, and producers are put in order, level by level.

What facts there are is `igw.facts`; running producers is `routing`.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping

from igw.errors import ConfigError
from igw.facts import DEFAULT_PRODUCERS, SESSION
from igw.scheduling import registry
from igw.scheduling.registry import Need
from igw.scheduling.specs import Spec


def order(specs: dict[str, Spec]) -> tuple[tuple[str, ...], ...]:
    """Add the producers that *specs* need and do not have; return the names of all producers, by level, in file order.

    Raises:
        ConfigError: a fact that nobody provides, or producers that need each other in a circle.
    """
    edges: dict[str, list[str]] = {}
    waiting = list(specs)
    for name in waiting:  # grows: what is added has needs too
        spec = specs[name]
        edges[name] = []
        for need in spec.known.needs:
            producer = _producer(spec, need, specs)
            if producer is None:
                continue
            if producer not in edges and producer not in waiting:
                waiting.append(producer)
            edges[name].append(producer)
    return _levels(specs, edges)


def producer_of(spec: Spec, need: Need) -> str:
    """Return the name of the producer that *spec* means; empty for a fact of no default producer."""
    written = spec.parameters.get(need.parameter) if need.parameter else None
    return str(written or DEFAULT_PRODUCERS.get(need.fact, ""))


def _producer(spec: Spec, need: Need, specs: dict[str, Spec]) -> str | None:
    """Return who provides what *spec* needs, adding it if it is upstream's default; None for an optional need nobody meets."""
    name = producer_of(spec, need)
    if not name:
        name = next((each.name for each in specs.values() if need.fact in each.known.provides), "")
        if not name and not need.optional:
            raise ConfigError(
                f"{spec.where}.type",
                f"`{spec.name}` needs the fact `{need.fact}`, which no plugin provides",
                "configure a producer that does",
            )
        return name or None
    if name in specs:
        if need.fact not in specs[name].known.provides:
            raise ConfigError(
                f"{spec.where}.parameters",
                f"`{spec.name}` needs {need.fact} of `{name}`, which does not provide it",
                f"`{name}` is of type {specs[name].kind}",
            )
        return name
    if need.optional:
        return None
    kind = DEFAULT_PRODUCERS[need.fact]
    if need.fact == SESSION:
        raise ConfigError(
            f"{spec.where}.type",
            f"`{spec.name}` needs the session of a request, and no plugin `{name}` reads it",
            f"configure a {kind} with headerName or cookieName",
        )
    why = f"{spec.where} (needs {need.fact})"
    found = registry.class_of(kind)
    specs[name] = Spec(name, kind, {}, why, registry.known(kind, found), found, written=False)
    return name


def _levels(specs: Mapping[str, Spec], edges: Mapping[str, list[str]]) -> tuple[tuple[str, ...], ...]:
    graph = {name: set(needed) for name, needed in edges.items() if specs[name].known.provides}
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(f"`{name}`" for name in reversed(error.args[1]))
        first = specs[error.args[1][0]]
        raise ConfigError(f"{first.where}.type", f"producers need each other in a circle: {circle}") from None
    place = {name: index for index, name in enumerate(specs)}
    levels = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=place.__getitem__)
        levels.append(tuple(ready))
        sorter.done(*ready)
    return tuple(levels)
