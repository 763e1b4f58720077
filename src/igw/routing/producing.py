"""Runs data producers and screeners of a configuration, and tells its plugins what happened. What each does is in `scheduling`.

A plugin that fails or is late costs its own fact, never the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from igw.endpoint import Endpoint
from igw.errors import NoEndpoints
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Screener
from igw.scheduling.instances import Producing

log = structlog.get_logger("plugins")

Found = Mapping[str, Mapping[str, Any]]
"""What producers found out, by their names."""

Failed = Callable[[str, str, str], None]
"""Told of (plugin type, plugin name, `error` or `late`)."""


class Waited(msgspec.Struct, frozen=True):
    """What asynchronous producers found out, for the endpoints there were when they were asked."""

    endpoints: tuple[Endpoint, ...]
    found: Found

    def at(self, endpoints: tuple[Endpoint, ...]) -> Found:
        """Return what was found for *endpoints*; nothing if there is one among them that was not asked for."""
        if endpoints == self.endpoints:
            return self.found
        row = {endpoint.hostport: index for index, endpoint in enumerate(self.endpoints)}
        if any(endpoint.hostport not in row for endpoint in endpoints):
            return {}
        rows = np.array([row[endpoint.hostport] for endpoint in endpoints], dtype=np.intp)
        count = len(self.endpoints)
        return {
            name: {key: _at(value, rows, count) for key, value in values.items()}
            for name, values in self.found.items()
        }


def find_out(
    levels: Iterable[Sequence[Producing]], request: Request, facts: Facts, waited: Found, failed: Failed
) -> Facts:
    """Return *facts* and what the producers of *levels* find out; that of asynchronous ones is in *waited*."""
    for level in levels:
        known = facts
        for each in level:
            found = waited.get(each.name) if each.waits else _called(each, request, known, failed)
            if found:
                facts = facts.knowing(each.name, found)
    return facts


async def wait(
    levels: Iterable[Sequence[Producing]], request: Request, facts: Facts, failed: Failed
) -> Waited:
    """Return what the asynchronous producers of *levels* find out: those of a level together, each within its level's deadline."""
    waited: dict[str, Mapping[str, Any]] = {}
    endpoints = facts.endpoints
    levels = tuple(levels)
    last = max(
        (number for number, level in enumerate(levels) if any(each.waits for each in level)), default=-1
    )
    for level in levels[: last + 1]:  # who comes after them is asked when they have answered
        waiting = [each for each in level if each.waits]
        if waiting:
            waited.update(await _together(waiting, request, facts, failed))
        facts = find_out((level,), request, facts, waited, failed)
    return Waited(endpoints, waited)


def screened(
    screeners: Iterable[Screener], request: Request, endpoints: tuple[Endpoint, ...]
) -> NDArray[np.bool_]:
    """Return which of *endpoints* every screener lets be a candidate.

    Raises:
        NoEndpoints: none.
    """
    keep = np.ones(len(endpoints), dtype=bool)
    for screener in screeners:
        keep &= screener.screen(request, endpoints)
    if not keep.any():
        raise NoEndpoints("screeners left no endpoint that may serve this request")
    return keep


def tell(listeners: Iterable[Callable[..., None]], *event: Any) -> None:
    """Tell plugins of an event; one that fails does not keep it from the others."""
    for listener in listeners:
        try:
            listener(*event)
        except Exception:
            log.exception("plugin_failed", plugin=getattr(listener, "__qualname__", repr(listener)))


def _called(each: Producing, request: Request, facts: Facts, failed: Failed) -> Mapping[str, Any]:
    try:
        found: Any = each.producer.produce(request, facts)
        return dict(found)
    except Exception:
        log.exception("producer_failed", name=each.name, type=each.producer.type)
        failed(each.producer.type, each.name, "error")
        return {}


async def _together(waiting: Sequence[Producing], request: Request, facts: Facts, failed: Failed) -> Found:
    async def one(each: Producing) -> Mapping[str, Any]:
        try:
            found: Any = each.producer.produce(request, facts)
            answer: Mapping[str, Any] = await found
        except Exception:
            log.exception("producer_failed", name=each.name, type=each.producer.type)
            failed(each.producer.type, each.name, "error")
            return {}
        return answer

    tasks: dict[str, asyncio.Task[Mapping[str, Any]]] = {}
    try:
        async with (
            asyncio.timeout(max(each.deadline_seconds for each in waiting)),
            asyncio.TaskGroup() as group,
        ):
            for each in waiting:
                tasks[each.name] = group.create_task(one(each))
    except TimeoutError:
        for each in waiting:
            if tasks[each.name].cancelled():
                failed(each.producer.type, each.name, "late")
    return {name: task.result() for name, task in tasks.items() if not task.cancelled()}


def _at(value: Any, rows: NDArray[np.intp], count: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_at(part, rows, count) for part in value)
    return value[rows] if isinstance(value, np.ndarray) and len(value) == count else value
