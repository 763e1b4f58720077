"""From a request that generates to its last byte, the same for every API: read, decide, run, write.

What differs between APIs comes in as two functions: one that reads a body, one that makes the writer of its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.generation import CannotRun, Generation, Runner, generating
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from igw.simulator.http.call import Call
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError
from igw.simulator.http.faulty import Tampering, arrival
from igw.simulator.http.metrics import count_answered
from igw.simulator.http.usage import Ended
from igw.simulator.serving import Serving
from igw.simulator.transfer.handover import Handover, LoadFailedError

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Head(msgspec.Struct, frozen=True):
    """What every part of one answer repeats; `created` is in seconds since the epoch.

    With `details` usage tells how much of the prompt was cached. `kv_transfer_params` is for who fetches the prompt.
    """

    id: str
    model: str
    created: int
    block_size: int = 16
    details: bool = True
    kv_transfer_params: dict[str, Any] | None = None


class Writer(Protocol):
    """Words one answer as its API does."""

    def whole(self, ended: Ended, /) -> bytes:
        """Return the body of an answer that is not streamed."""
        ...

    def opening(self) -> bytes:
        """Return what a stream begins with, before there is a token."""
        ...

    def token(self, emission: Emission, /) -> bytes:
        """Return what is sent for one token."""
        ...

    def closing(self, ended: Ended, /) -> bytes:
        """Return what a stream ends with, after the last token."""
        ...


Read: TypeAlias = Callable[[bytes], tuple[Call, Callable[[Head, list[Choice]], Writer]]]
"""Reads a body: what is asked, and who words the answer; ApiError for a bad one."""


async def generate(serving: Serving, request: web.Request, read: Read, prefix: str) -> web.StreamResponse:
    """Answer *request*, whose id begins with `prefix`; ApiError for what is refused before it starts."""
    arrived = arrival(request, serving.clock)
    serving.check_ready()
    with serving.loaded():
        call, writer_of = read(await request.read())
        adapter = serving.names.adapter(call.model)
        tampering = Tampering(request, serving.saboteur)
        every_token = call.stream or tampering.every_token
        choices = serving.decider.choices(call, adapter, every_token=every_token)
        own = head(serving, request, prefix, adapter)
        runner = chosen_runner(serving, request)
        try:
            async with handed_over(serving, call, own.id, choices) as handover:
                writer = writer_of(msgspec.structs.replace(own, kv_transfer_params=handover.told), choices)
                await asyncio.sleep(FRONTEND_SECONDS / serving.config.speed)
                run = generating(
                    runner, handover.sequences, arrived, every_token=every_token, watch=handover.watch
                )
                async with run as generation:
                    answering = _Answering(request, writer, choices, generation, tampering)
                    response = await (answering.stream() if call.stream else answering.whole())
                    count_answered(serving, call, choices)
                    return response
        except CannotRun as error:
            raise ApiError(400, str(error)) from error


def chosen_runner(serving: Serving, request: web.Request) -> Runner:
    """Return what runs the sequences of *request*; ApiError 400 for a data-parallel rank that is not there."""
    try:
        return serving.ranks.chosen(request.headers.get("X-data-parallel-rank"))
    except ValueError as error:
        raise ApiError(400, str(error)) from error


@asynccontextmanager
async def handed_over(
    serving: Serving, call: Call, request_id: str, choices: list[Choice]
) -> AsyncIterator[Handover]:
    """Fetch what the call wants from another server, and see to it that it is let go there."""
    prompts = [(choice.sequence, choice.tokens) for choice in choices]
    if serving.transfers is None:
        yield Handover([choice.sequence for choice in choices])
        return
    try:
        handover = await serving.transfers.begin(call.kv_transfer_params, request_id, prompts)
    except LoadFailedError as error:
        # vLLM ends such a request with the finish reason "error", which its API answers with this status and type.
        raise ApiError(500, f"Internal server error: {error}", kind="InternalServerError") from error
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    try:
        yield handover
    finally:
        handover.end()


def head(serving: Serving, request: web.Request, prefix: str, adapter: str | None) -> Head:
    """Return the head of the answer to *request*; a client's `X-Request-Id` becomes part of the id, as in vLLM."""
    return Head(
        id=prefix + (request.headers.get("X-Request-Id") or serving.new_id()),
        model=adapter or serving.names.served[0],
        created=serving.now(),
        block_size=serving.config.engine.block_size,
        details=serving.config.enable_prompt_tokens_details,
    )


def json_response(body: bytes, status: int = 200) -> web.Response:
    """Return an answer with a body that is JSON already."""
    return web.Response(body=body, status=status, content_type="application/json")


class _Answering:
    def __init__(
        self,
        request: web.Request,
        writer: Writer,
        choices: list[Choice],
        generation: Generation,
        tampering: Tampering,
    ) -> None:
        self._request = request
        self._writer = writer
        self._choices = choices
        self._generation = generation
        self._tampering = tampering

    async def whole(self) -> web.Response:
        while self._generation.going_on:
            await self._next()
        return json_response(self._writer.whole(self._ended()))

    async def stream(self) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM})
        await response.prepare(self._request)
        if opening := self._writer.opening():
            await response.write(opening)
        token = self._writer.token
        while self._generation.going_on:
            emissions = await self._next()
            data = b"".join([token(each) for each in emissions])
            await response.write(self._tampering.spoil(data, len(emissions)))
        await response.write(self._writer.closing(self._ended()))
        await response.write_eof()
        return response

    async def _next(self) -> list[Emission]:
        """Return what a step brought, at least one emission; ConnectionResetError when a fault strikes."""
        return await self._tampering.next(self._generation.take)

    def _ended(self) -> Ended:
        ended = self._generation.ended
        return [(choice, ended[choice.sequence.id]) for choice in self._choices]
