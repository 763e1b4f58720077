"""One simulated model server: vLLM's HTTP routes in front of an engine that runs in real time.

How requests are read and answers written is in `requests` and `answers`; this module connects them.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.driver import Driver, Inbox
from igw.simulator.engine.blocks import block_hashes
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Emission, FinishReason, Sequence
from igw.simulator.faults import Faults
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from igw.simulator.http import answers
from igw.simulator.http.answers import Choice, Chunks, Head
from igw.simulator.http.requests import ApiError, Call, read_chat, read_completion
from igw.simulator.metrics.vllm import Histograms, Page
from igw.simulator.text import answer, cut_at_stop, natural_length, tokenize

MAX_BODY_BYTES = 256 * 1024 * 1024
_SHUTDOWN_SECONDS = 0.1


class ServerConfig(msgspec.Struct, frozen=True):
    """What one server serves and how fast: with `speed` 2.0 everything takes half the time."""

    model: str
    engine: EngineConfig
    speed: float = 1.0


class ModelServer:
    """An OpenAI-compatible server without a model; `engine` and `driver` may be watched, never driven, by tests."""

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.engine = Engine(config.engine)
        self.faults = Faults()
        self._clock = clock
        self._created = time.time_ns() // 10**9
        self._started = clock()
        histograms = Histograms(config.model, config.engine.max_model_len)
        self._page = Page(config.model, config.engine, histograms)
        self.driver = Driver(self.engine, histograms, speed=config.speed, clock=clock)

    @asynccontextmanager
    async def serving(self, address: str, port: int) -> AsyncIterator[int]:
        """Listen and run while the context is open; yields the port. OSError when it is taken."""
        runner = web.AppRunner(
            self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, address, port)
            await site.start()
            async with _kept_running(self.driver.run()):
                yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/version", self._version)
        app.router.add_get("/igw/faults", self._get_faults)
        app.router.add_post("/igw/faults", self._set_faults)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, read_chat)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, read_completion)

    async def _models(self, _request: web.Request) -> web.Response:
        self._check_ready()
        length = self.config.engine.max_sequence_tokens
        return _json(answers.models(self.config.model, self._created, length))

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(status=503 if self.faults.unready else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        page = self._page.render(self.engine.statistics())
        return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _version(self, _request: web.Request) -> web.Response:
        return _json(msgspec.json.encode({"version": answers.VERSION}))

    async def _get_faults(self, _request: web.Request) -> web.Response:
        return _json(msgspec.json.encode(self.faults))

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = msgspec.json.decode(await request.read(), type=Faults)
        except msgspec.DecodeError as error:
            raise ApiError(400, f"{error}.") from error
        return await self._get_faults(request)

    def _check_ready(self) -> None:
        if self.faults.unready:
            raise ApiError(503, "The server is not ready.", kind="ServiceUnavailableError")

    async def _generate(self, request: web.Request, read: Callable[[bytes], Call]) -> web.StreamResponse:
        arrived = self._clock()
        self._check_ready()
        call = read(await request.read())
        self._check_model(call.model)
        request_id = request.headers.get("X-Request-Id") or uuid.uuid4().hex[:16]
        head = self._head(call, request_id)
        choices = [self._decide(call, prompt, index) for index, prompt in enumerate(call.prompts)]
        faults = self._take_faults()
        await asyncio.sleep(FRONTEND_SECONDS / self.config.speed + faults.delay_seconds)
        answering = _Answering(request, call, head, choices, faults.abort_after_tokens)
        try:
            for choice in choices:
                self._submit(choice.sequence, answering.inbox, arrived)
            return await (answering.stream() if call.stream else answering.whole())
        finally:
            # Whoever leaves early, by an error or because the client hung up, frees its slots here.
            for choice in choices:
                self.driver.abort(choice.sequence.id)

    def _submit(self, sequence: Sequence, inbox: Inbox, arrived: float) -> None:
        try:
            self.driver.submit(sequence, inbox, arrived)
        except ValueError as error:
            raise ApiError(400, str(error)) from error

    def _check_model(self, model: str | None) -> None:
        if model not in {None, self.config.model}:
            message = f"The model `{model}` does not exist. Valid aliases: {self.config.model}."
            raise ApiError(404, message, kind="NotFoundError", param="model")

    def _head(self, call: Call, request_id: str) -> Head:
        created = self._created + int(self._clock() - self._started)
        kind = "chatcmpl" if call.chat else "cmpl"
        return Head(
            call.chat, f"{kind}-{request_id}", self.config.model, created, self.config.engine.block_size
        )

    def _take_faults(self) -> Faults:
        faults = self.faults
        if faults.once and faults.abort_after_tokens is not None:
            self.faults = msgspec.structs.replace(faults, once=False, abort_after_tokens=None)
        return faults

    def _decide(self, call: Call, prompt: array[int], index: int) -> Choice:
        tokens, reason = self._length(call, prompt)
        pieces, stop_reason = cut_at_stop(generated := answer(prompt, tokens), call.stop)
        output = tokenize("".join(generated[: len(pieces)]))
        sequence = Sequence(
            # Clients repeat request ids, so the engine gets one of our own.
            id=uuid.uuid4().hex,
            prompt_tokens=len(prompt),
            output_tokens=len(pieces),
            block_hashes=block_hashes(self.config.model, prompt + output, self.config.engine.block_size),
            finish_reason="stop" if stop_reason is not None else reason,
        )
        return Choice(index, sequence, pieces, stop_reason)

    def _length(self, call: Call, prompt: array[int]) -> tuple[int, FinishReason]:
        limit = self.config.engine.max_sequence_tokens
        if call.max_tokens is not None and call.max_tokens > limit:
            message = (
                f"max_tokens={call.max_tokens} cannot be greater than max_model_len={limit}. Please request fewer "
                f"output tokens. (parameter=max_tokens, value={call.max_tokens})"
            )
            raise ApiError(400, message, param="max_tokens")
        if len(prompt) >= limit:
            message = (
                f"This model's maximum context length is {limit} tokens. However, your request has {len(prompt)} "
                f"input tokens. Please reduce the length of the input messages."
            )
            raise ApiError(400, message, param="input_tokens")
        if call.max_tokens is not None:
            return call.max_tokens, "length"
        wanted, room = natural_length(prompt), limit - len(prompt)
        return (wanted, "stop") if wanted <= room else (room, "length")


class _Answering:
    """One HTTP request from its first token to its last byte."""

    def __init__(
        self,
        request: web.Request,
        call: Call,
        head: Head,
        choices: list[Choice],
        abort_after_tokens: int | None,
    ) -> None:
        self._request = request
        self._call = call
        self._head = head
        self._choices = {choice.sequence.id: choice for choice in choices}
        self._abort_after = abort_after_tokens
        self._tokens = 0
        self._ended: dict[str, Emission] = {}
        self.inbox = Inbox(every_token=call.stream or abort_after_tokens is not None)

    async def whole(self) -> web.Response:
        while self._going_on():
            await self._next()
        return _json(answers.whole(self._head, self._endings()))

    async def stream(self) -> web.StreamResponse:
        chunks = {
            choice.sequence.id: Chunks(self._head, choice, continuous_usage=self._call.continuous_usage)
            for choice in self._choices.values()
        }
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(self._request)
        while self._going_on():
            emissions = await self._next()
            await response.write(b"".join([chunks[each.sequence.id].token(each) for each in emissions]))
        if self._call.include_usage:
            await response.write(answers.usage_chunk(self._head, self._endings()))
        await response.write(answers.DONE)
        await response.write_eof()
        return response

    def _going_on(self) -> bool:
        return len(self._ended) < len(self._choices)

    async def _next(self) -> list[Emission]:
        """Return what a step brought, at least one emission; ConnectionResetError when the fault strikes."""
        left = None if self._abort_after is None else self._abort_after - self._tokens
        if left == 0:
            self._hang_up()
        emissions = (await self.inbox.take())[:left]
        self._tokens += len(emissions)
        self._ended |= {each.sequence.id: each for each in emissions if each.reason}
        return emissions

    def _hang_up(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()
        raise ConnectionResetError("the connection was closed on request (abort_after_tokens)")

    def _endings(self) -> list[tuple[Choice, Emission]]:
        return [(choice, self._ended[key]) for key, choice in self._choices.items()]


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


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _json(error.body, error.status)
    except ConnectionResetError:
        # The client hung up, or a fault did: nobody is left to answer, and it is not worth a traceback.
        return web.Response(status=499)
    except web.HTTPException as error:
        # Unknown paths and methods, bodies over the limit: FastAPI's shape.
        return _json(msgspec.json.encode({"detail": error.reason}), error.status)
