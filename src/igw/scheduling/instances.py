"""What a configuration's plugins do beside ranking: facts they find out, endpoints they screen, events they are told of.

Who calls them is `routing`. Building them from a file is `configured`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from igw.decision import Decision
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS
from igw.scheduling.api import HeaderProcessor, Producer, Screener

PRODUCER_SECONDS = 0.4
"""Upstream's deadline for one producer that names none."""


class Producing(msgspec.Struct, frozen=True):
    """A producer as one configuration names it."""

    name: str
    producer: Producer
    deadline_seconds: float = PRODUCER_SECONDS
    waits: bool = False
    """Whether it is asynchronous: a request waits for it, at most until the largest deadline of its level."""


class Instances(msgspec.Struct, frozen=True):
    """The plugins of one configuration. Those with hooks are told of every request, referenced or not (upstream's rule)."""

    by_name: Mapping[str, Any] = {}
    producers: tuple[tuple[Producing, ...], ...] = ()
    """By level: those of one need only what earlier levels provide. Without those that have nothing to do."""
    processors: tuple[HeaderProcessor, ...] = ()
    screeners: tuple[Screener, ...] = ()
    decided: tuple[Callable[[Decision], None], ...] = ()
    ended: tuple[Callable[[Decision, Any], None], ...] = ()
    left: tuple[Callable[[str], None], ...] = ()
    """Told of every endpoint that left its pool, by `ip:port`."""
    capacity_tokens: int = DEFAULT_CAPACITY_TOKENS
    """What an endpoint's prefix cache is believed to hold, where it does not say."""
    follows_engines: bool = True
    """Whether what it says counts."""

    @property
    def waits(self) -> bool:
        """Whether a request may have to wait for facts."""
        return any(each.waits for level in self.producers for each in level)


def of(by_name: Mapping[str, Any], levels: tuple[tuple[str, ...], ...] = ()) -> Instances:
    """Return the instances of *by_name*, producers by the *levels* of their names."""
    plugins = list({id(plugin): plugin for plugin in by_name.values()}.values())
    running = tuple(
        tuple(
            Producing(
                name,
                plugin,
                getattr(plugin, "deadline_seconds", PRODUCER_SECONDS),
                inspect.iscoroutinefunction(plugin.produce),
            )
            for name in level
            if (plugin := by_name.get(name)) is not None and _works(name, plugin)
        )
        for level in levels
    )
    # There is one prefix index: the first producer in the file says how much it believes.
    index = next((plugin for plugin in plugins if hasattr(plugin, "capacity_tokens")), None)
    return Instances(
        by_name,
        tuple(level for level in running if level),
        tuple(plugin for plugin in plugins if hasattr(plugin, "process")),
        tuple(plugin for plugin in plugins if hasattr(plugin, "screen")),
        tuple(plugin.decided for plugin in plugins if hasattr(plugin, "decided")),
        tuple(plugin.ended for plugin in plugins if hasattr(plugin, "ended")),
        tuple(plugin.left for plugin in plugins if hasattr(plugin, "left")),
        index.capacity_tokens if index is not None else DEFAULT_CAPACITY_TOKENS,
        index.auto_tune if index is not None else True,
    )


def _works(name: str, plugin: Any) -> bool:
    """Return whether a producer has anything to find out: under a name of its own the facts of the columns must be entered."""
    if not hasattr(plugin, "produce"):
        return False
    return not getattr(plugin, "idle", False) or (bool(plugin.provides) and name != plugin.type)
