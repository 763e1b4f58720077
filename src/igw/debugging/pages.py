"""Pages on the process itself: `/debug/profile`, `/debug/tasks`, `/debug/log-level`. Who may ask for them is `access`' business."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from igw.config.decode import nearest
from igw.debugging.profile import MOST_HERTZ, MOST_SECONDS, Sampler, collapsed, speedscope
from igw.telemetry import log

PROFILE, TASKS, LOG_LEVEL = "/debug/profile", "/debug/tasks", "/debug/log-level"
_MOST_KINDS = 500
"""Kinds of tasks that are listed."""


class Tasks(msgspec.Struct, frozen=True):
    """Tasks that wait in the same place of the same coroutine are of one kind."""

    coroutine: str
    waits_at: str
    """`file:line` of the innermost frame of ours to see; empty for one that has not begun."""
    count: int


class Pages:
    """What is asked for while a process runs."""

    def __init__(self) -> None:
        self._profiling = False

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes for an HTTP server."""
        return (
            web.get(PROFILE, self._profile),
            web.get(TASKS, self._tasks),
            web.get(LOG_LEVEL, self._log_level),
            web.put(LOG_LEVEL, self._set_log_level),
        )

    async def _profile(self, request: web.Request) -> web.Response:
        try:
            seconds = _number(request, "seconds", 5.0, MOST_SECONDS)
            hertz = _number(request, "hz", 100.0, MOST_HERTZ)
        except ValueError as error:
            return _wrong(str(error), 400)
        form = request.query.get("format", "collapsed")
        if form not in {"collapsed", "speedscope"}:
            return _wrong(f"format={form!r} is neither `collapsed` nor `speedscope`", 400)
        if self._profiling:
            return _wrong("somebody is profiling already; try again when they are done", 409)
        self._profiling = True
        try:
            found = await asyncio.to_thread(Sampler(1.0 / hertz).run, seconds)
        finally:
            self._profiling = False
        if form == "collapsed":
            return web.Response(text=collapsed(found))
        body = msgspec.json.encode(speedscope(found, f"igw, {seconds:g} s at {hertz:g} Hz"))
        headers = {"content-disposition": 'attachment; filename="igw.speedscope.json"'}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _tasks(self, _request: web.Request) -> web.Response:
        kinds = Counter(_kind(task) for task in asyncio.all_tasks())
        listed = [Tasks(*kind, count) for kind, count in kinds.most_common(_MOST_KINDS)]
        return _json({"tasks": kinds.total(), "kinds": listed})

    async def _log_level(self, _request: web.Request) -> web.Response:
        return _json({"level": log.level()})

    async def _set_log_level(self, request: web.Request) -> web.Response:
        name = (await request.text()).strip().lower()
        if name not in log.LEVELS:
            return _wrong(f"there is no level `{name[:20]}`; {nearest(name[:20], log.LEVELS)}", 400)
        log.set_level(name)
        return _json({"level": name})


def _number(request: web.Request, name: str, default: float, most: float) -> float:
    written = request.query.get(name)
    if written is None:
        return default
    try:
        number = float(written)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= most:
        raise ValueError(f"{name}={written!r} is not a number above 0, at most {most:g}")
    return number


def _kind(task: asyncio.Task[Any]) -> tuple[str, str]:
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    inner: Any = coroutine
    while (
        getattr(inner, "cr_frame", None) is not None and getattr(inner.cr_await, "cr_frame", None) is not None
    ):
        inner = inner.cr_await
    frame = getattr(inner, "cr_frame", None)
    return name, f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _wrong(why: str, status: int) -> web.Response:
    return _json({"error": why}, status)
