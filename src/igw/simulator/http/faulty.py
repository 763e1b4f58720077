"""How a server's faults look over HTTP: to a request as a whole, and amid the tokens of an answer.

Which request is struck is decided in `faults`; the routes that set faults are in `http.faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from igw.simulator.engine.sequence import Emission
from igw.simulator.faults import HEALTHY, Failure
from igw.simulator.http.errors import ApiError
from igw.simulator.metrics.dialects import DIALECTS
from igw.simulator.sabotage import Saboteur
from igw.simulator.serving import Serving

CONTROL = "/igw/"
"""The beginning of paths that no fault touches."""

GARBAGE = b'{"id": "garb'
"""What is sent instead of JSON."""

_GARBAGE_EVENT = b"data: " + GARBAGE + b"\n\n"
_OPERATORS = {"/sleep", "/wake_up", "/reset_prefix_cache", "/ping"}
_FAILURE = web.RequestKey("failure", Failure)
_ARRIVED = web.RequestKey("arrived", float)


def arrival(request: web.Request, clock: Callable[[], float]) -> float:
    """Return when *request* arrived on the server's clock: before a fault kept it waiting."""
    arrived: float | None = request.get(_ARRIVED)
    return clock() if arrived is None else arrived


class Tampering:
    """What a fault does to the answer of one request; nothing to most."""

    def __init__(self, request: web.Request, saboteur: Saboteur) -> None:
        self._request = request
        self._saboteur = saboteur
        self._failure: Failure = request.get(_FAILURE, HEALTHY)
        self._hangs = self._failure.hang == "after-first-token"
        self._tokens = 0

    @property
    def every_token(self) -> bool:
        """Whether the answer has to be looked at token by token."""
        return self._failure.every_token

    async def next(self, take: Callable[[], Awaitable[list[Emission]]]) -> list[Emission]:
        """Return what *take* brings, at least one emission; ConnectionResetError when the answer is to break off."""
        if self._hangs and self._tokens:
            await self._saboteur.hang()
            self._hangs = False
        limit = self._failure.abort_after_tokens
        left = None if limit is None else limit - self._tokens
        if left == 0:
            _cut(self._request)
        emissions = (await take())[:left]
        self._tokens += len(emissions)
        return emissions

    def spoil(self, data: bytes, tokens: int) -> bytes:
        """Return what is sent for *tokens* of a stream instead of `data`."""
        return _GARBAGE_EVENT * tokens if self._failure.garbage else data


def failing(serving: Serving) -> Middleware:
    """Return what lets requests fail; it belongs inside of what makes errors answers."""
    page = _Page(serving.saboteur)
    pages = DIALECTS[serving.config.dialect].paths

    @web.middleware
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        failure = await _failure(serving, request)
        if failure is not HEALTHY:
            request[_FAILURE], request[_ARRIVED] = failure, serving.clock()
            await _strike(request, failure, serving.saboteur)
        response = await (page.show(request, handler) if request.path in pages else handler(request))
        if failure.garbage and isinstance(response, web.Response):
            return web.Response(body=GARBAGE, status=response.status, content_type="application/json")
        return response

    return fail


async def _failure(serving: Serving, request: web.Request) -> Failure:
    saboteur, model = serving.saboteur, None
    api = request.method == "POST" and request.path not in _OPERATORS
    if api:
        saboteur.arrive()
        if saboteur.restarting:
            return Failure(refuse=True)
        if saboteur.state.asks_for_models:
            model = _model(await request.read()) or serving.config.names[0]
    return saboteur.state.failure(request.path, model, api=api)


async def _strike(request: web.Request, failure: Failure, saboteur: Saboteur) -> None:
    if failure.refuse:
        _cut(request, reset=True)
    await asyncio.sleep(failure.delay_seconds)
    if failure.hang == "before-first-token":
        await saboteur.hang()
    if failure.error_status is not None:
        raise ApiError(failure.error_status, "This error was asked for.", kind="InternalServerError")


class _Page:
    """The metrics page, as wrong as it is to be."""

    def __init__(self, saboteur: Saboteur) -> None:
        self._saboteur = saboteur
        self._last: tuple[bytes, str] | None = None

    async def show(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        state = self._saboteur.state
        while state.metrics == "stalled":
            await self._saboteur.hang()
        if state.metrics == "missing":
            raise web.HTTPNotFound
        if state.metrics != "stale" or self._last is None:
            response = await handler(request)
            if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
                return response
            self._last = response.body, response.headers["Content-Type"]
        body, kind = self._last
        return web.Response(body=body, headers={"Content-Type": kind})


class _Asked(msgspec.Struct):
    model: str | None = None


def _model(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Asked).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _cut(request: web.Request, *, reset: bool = False) -> NoReturn:
    if (transport := request.transport) is not None:
        if reset:
            transport.abort()
        else:
            transport.close()
    raise ConnectionResetError("the connection was closed on request")
