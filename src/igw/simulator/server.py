"""One simulated model server: a listener for the routes of every API, and an engine that runs behind it.

The routes are in the room `http`, one module per API; what they share is in `serving`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from igw.simulator.driver import Driver
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.shared import SharedTier
from igw.simulator.faults import Faults, of_replica
from igw.simulator.http import (
    chat,
    classifying,
    completions,
    control,
    dialects,
    faults,
    images,
    messages,
    metrics,
    models,
    pooling,
    responses,
    shared_cache,
    speech,
    tokens,
    transcription,
    transfer,
)
from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError
from igw.simulator.http.faulty import failing
from igw.simulator.sabotage import Saboteur
from igw.simulator.serving import ServerConfig, Serving

MAX_BODY_BYTES = 256 * 1024 * 1024
_CLOSE_SECONDS = 0.1
_APIS = (
    chat,
    completions,
    responses,
    messages,
    pooling,
    classifying,
    images,
    speech,
    transcription,
    tokens,
    models,
    control,
    faults,
    metrics,
    transfer,
    shared_cache,
    dialects,
)
_GUARDED = ("/v1", "/inference")  # what vLLM's --api-key is asked for


class ModelServer:
    """An OpenAI-compatible server without a model."""

    def __init__(
        self,
        config: ServerConfig,
        clock: Callable[[], float] = time.monotonic,
        shared_tier: SharedTier | None = None,
    ) -> None:
        self.config = config
        self.saboteur = Saboteur(of_replica(config.schedule, config.replica), config.speed, clock)
        self.state = Serving(config, clock, self.saboteur, shared_tier)
        self._clock = clock
        self.grpc_port = config.grpc_port
        """Where it listens for gRPC; the port that was taken if any would do, None for none."""

    @property
    def engine(self) -> Engine:
        """The engine of this server, to be watched by tests."""
        return self.state.engine

    @property
    def driver(self) -> Driver:
        """What runs the engine."""
        return self.state.driver

    @property
    def faults(self) -> Faults:
        """What it does wrong on purpose."""
        return self.saboteur.state.faults

    @asynccontextmanager
    async def serving(self, address: str, port: int) -> AsyncIterator[int]:
        """Listen and run while the context is open; yields the port. OSError when it is taken."""
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with _kept_running(self._lives(address, port, listening)), _kept_running(self.saboteur.run()):
            yield await listening

    async def _lives(self, address: str, port: int, listening: asyncio.Future[int]) -> None:
        """Live, and begin anew on the same port whenever a restart is asked for: nothing of a life is left then."""
        while True:
            async with self._alive(address, port) as taken:
                port = taken
                self.saboteur.born_again()
                if not listening.done():
                    listening.set_result(port)
                restart = await self.saboteur.end_of_life()
            config = msgspec.structs.replace(self.config, loading_seconds=restart.loading_seconds)
            earlier, self.state = (
                self.state.kv_events,
                Serving(config, self._clock, self.saboteur, self.state.shared_tier),
            )
            if self.state.kv_events and earlier:
                self.state.kv_events.succeed(earlier)

    @asynccontextmanager
    async def _alive(self, address: str, port: int) -> AsyncIterator[int]:
        runner = web.AppRunner(
            self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, address, port)
            await site.start()
            port = runner.addresses[0][1]
            async with AsyncExitStack() as stack:
                if events := self.state.kv_events:
                    await stack.enter_async_context(events.running(address, port, self.config.names[0]))
                if transfers := self.state.transfers:
                    tp = self.config.tensor_parallel
                    await stack.enter_async_context(transfers.running(address, port, tp))
                for rank in self.state.ranks:
                    await stack.enter_async_context(_kept_running(rank.driver.run()))
                if self.grpc_port is not None:
                    from igw.simulator.rpc.listener import listening

                    grpc = listening(self.state, address, self.grpc_port)
                    self.grpc_port = await stack.enter_async_context(grpc)
                yield port
                # Reached only when it is to restart: a server that is stopped gives its requests a moment.
                for connection in runner.server.connections if runner.server else ():
                    connection.force_close()
        finally:
            await runner.cleanup()

    async def drain(self) -> None:
        """Take no more requests, and give those under way the time that was set for it."""
        self.state.draining = True
        try:
            async with asyncio.timeout(self.config.shutdown_seconds):
                await self.state.quiet.wait()
        except TimeoutError:
            return

    def _app(self) -> web.Application:
        app = web.Application(
            client_max_size=MAX_BODY_BYTES,
            middlewares=[
                metrics.counting(self.state),
                _errors_as_json,
                _authorized(self.config.api_keys),
                failing(self.state),
            ],
        )
        for api in _APIS:
            app.router.add_routes(api.routes(self.state))
        if self.config.enable_request_id_headers:
            app.on_response_prepare.append(self._echo_request_id)
        return app

    async def _echo_request_id(self, request: web.Request, response: web.StreamResponse) -> None:
        given = request.headers.get("X-Request-Id")
        response.headers["X-Request-Id"] = given or self.state.new_id()


@asynccontextmanager
async def _kept_running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* while the context is open; its failure ends the body and is raised as it is.

    A task group would do the same, but wrap whatever the body raises in an exception group.
    """
    owner = asyncio.current_task()
    if owner is None:
        raise RuntimeError("a server runs inside a task")
    task = asyncio.create_task(work)
    task.add_done_callback(lambda ended: None if ended.cancelled() else owner.cancel())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            owner.uncancel()
            raise error


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return json_response(error.body, error.status)
    except ConnectionResetError:
        # The client hung up, or a fault did: nobody is left to answer, and it is not worth a traceback.
        return web.Response(status=499)
    except web.HTTPException as error:
        # Unknown paths and methods, bodies over the limit: FastAPI's shape.
        return json_response(msgspec.json.encode({"detail": error.reason}), error.status)


def _authorized(keys: tuple[str, ...]) -> Middleware:
    """Return what asks for one of *keys* as a bearer token where vLLM does; nothing is asked without keys."""
    known = [key.encode() for key in keys]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if known and request.path.startswith(_GUARDED) and request.method != "OPTIONS":
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            # Every key is compared, so that the time taken tells nothing.
            matches = [secrets.compare_digest(token.encode(), key) for key in known]
            if scheme.lower() != "bearer" or not any(matches):
                return json_response(msgspec.json.encode({"error": "Unauthorized"}), 401)
        return await handler(request)

    return check
