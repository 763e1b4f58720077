"""Decisions over HTTP: `GET /debug/decisions` lists them, `GET /debug/decisions/{id}` says why. Where they are served is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from igw.explaining.explanation import Line, explained, line
from igw.explaining.recorder import Kept, NotKept, Recorder

PATH = "/debug/decisions"
_FEW, _MOST = 50, 1_000


class Listed(msgspec.Struct, frozen=True):
    """The answer to a list."""

    decisions: list[Line]
    """The latest first."""
    kept: Kept


class Missing(msgspec.Struct, frozen=True):
    """The answer to an id that is not known, and to what cannot be understood."""

    error: str
    nearest: list[str] = []
    """Ids that look like it."""


class Pages:
    """Serves what *recorder* has."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes for an HTTP server."""
        return web.get(PATH, self._list), web.get(PATH + "/{id}", self._one)

    async def _list(self, http: web.Request) -> web.Response:
        written = http.query.get("limit", str(_FEW))
        if not written.isdecimal() or not 0 < int(written) <= _MOST:
            return _json(Missing(f"limit={written!r} is not a number from 1 to {_MOST}"), 400)
        try:
            records = self._recorder.latest(int(written), http.query.get("before", ""))
        except NotKept as error:
            return _json(Missing(str(error), list(error.nearest)), 404)
        started_at = self._started_at()
        return _json(Listed([line(record, started_at) for record in records], self._recorder.kept()))

    async def _one(self, http: web.Request) -> web.Response:
        try:
            record = self._recorder.find(http.match_info["id"])
        except NotKept as error:
            return _json(Missing(str(error), list(error.nearest)), 404)
        return _json(explained(record, self._started_at()))

    def _started_at(self) -> float:
        """Return when the clock of decisions was 0, in seconds since 1970."""
        return time.time_ns() / 1e9 - self._clock()


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
