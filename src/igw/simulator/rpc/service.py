"""`vllm.grpc.engine.VllmEngine` in front of a server's engines. Listening is `listener`'s, messages are in the others.

There is no name of a model in these messages, so adapters cannot be asked for. Faults of the HTTP API are not made here,
but for those that make the server unready or slow.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NoReturn

import grpc
from smg_grpc_proto.generated import common_pb2, vllm_engine_pb2_grpc
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.generation import CannotRun, Generation, Runner, generating
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from igw.simulator.http.answering import handed_over
from igw.simulator.http.errors import ApiError
from igw.simulator.http.metrics import count_answered
from igw.simulator.http.pooling import vector
from igw.simulator.rpc.reading import NOT_SIMULATED, read_generate, read_tokens
from igw.simulator.rpc.writing import GenerateWriter, loads, model_info, server_info
from igw.simulator.serving import Serving

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    NOT_SIMULATED: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_Context = Any


class VllmEngine(vllm_engine_pb2_grpc.VllmEngineServicer):  # type: ignore[misc]  # generated, untyped
    """Answers as vLLM's gRPC server does; names of methods are the protocol's."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._started = serving.clock()
        self._last_request = 0.0
        self._underway: dict[str, list[_Wait]] = {}

    async def Generate(self, request: pb.GenerateRequest, context: _Context) -> None:  # noqa: N802
        """Stream an answer: pieces if `stream` is set, and the end of each choice."""
        async with _errors_told(context):
            await self._generate(request, context.write)

    async def Embed(self, request: pb.EmbedRequest, context: _Context) -> pb.EmbedResponse:  # noqa: N802
        """Return a vector that depends on the tokens alone, after a prefill."""
        async with _errors_told(context):
            return await self._embed(request)

    async def Abort(self, request: pb.AbortRequest, _context: _Context) -> pb.AbortResponse:  # noqa: N802
        """End requests by their ids, and return when their slots and memory are free; others are passed over."""
        waits = [wait for name in request.request_ids for wait in self._underway.get(name, ())]
        for wait in waits:
            wait.end()
        for wait in waits:
            await wait.over.wait()
        return pb.AbortResponse()

    async def HealthCheck(  # noqa: N802
        self, _request: pb.HealthCheckRequest, _context: _Context
    ) -> pb.HealthCheckResponse:
        """Return whether requests are taken now."""
        ready = self._serving.ready
        return pb.HealthCheckResponse(
            healthy=ready, message="Health" if ready else "The server is not ready."
        )

    async def FlushCache(  # noqa: N802
        self, request: common_pb2.FlushCacheRequest, _context: _Context
    ) -> common_pb2.FlushCacheResponse:
        """Forget all cached prefixes; waits for `timeout_s` at most until nothing is in use."""
        with suppress(TimeoutError):
            async with asyncio.timeout(request.timeout_s):
                await self._serving.ranks.idle()
        done = self._serving.ranks.reset_prefix_cache()
        message = "" if done else "Blocks are in use by requests."
        return common_pb2.FlushCacheResponse(success=done, message=message)

    async def GetModelInfo(  # noqa: N802
        self, _request: pb.GetModelInfoRequest, _context: _Context
    ) -> pb.GetModelInfoResponse:
        """Return what is known of the model."""
        return model_info(self._serving)

    async def GetServerInfo(  # noqa: N802
        self, _request: pb.GetServerInfoRequest, _context: _Context
    ) -> pb.GetServerInfoResponse:
        """Return the state of the server."""
        return server_info(self._serving, self._serving.clock() - self._started, self._last_request)

    async def GetLoads(self, request: pb.GetLoadsRequest, _context: _Context) -> pb.GetLoadsResponse:  # noqa: N802
        """Return the load of the data-parallel ranks."""
        rank = request.dp_rank if request.HasField("dp_rank") else None
        now = datetime.fromtimestamp(self._serving.unix_seconds(), UTC)
        return loads(self._serving, rank, now.isoformat())

    async def StartProfile(self, _request: Any, context: _Context) -> NoReturn:  # noqa: N802
        """Refuse."""
        await _refuse(context, "Profiling is not simulated.")

    async def StopProfile(self, _request: Any, context: _Context) -> NoReturn:  # noqa: N802
        """Refuse."""
        await _refuse(context, "Profiling is not simulated.")

    async def GetTokenizer(self, _request: Any, context: _Context) -> None:  # noqa: N802
        """Refuse."""
        await _refuse(context, "There are no tokenizer files: a token is four bytes of UTF-8.")

    async def SubscribeKvEvents(self, _request: Any, context: _Context) -> None:  # noqa: N802
        """Refuse."""
        await _refuse(context, "KV events are published over ZMQ (kvEventsConfig).")

    async def _generate(self, request: pb.GenerateRequest, write: Callable[[Any], Any]) -> None:
        serving, arrived = self._serving, self._arrived()
        asked = read_generate(request)
        runner = self._runner(request)
        with serving.loaded(), self._waiting(request.request_id) as wait:
            choices = serving.decider.choices(asked, None, every_token=asked.stream)
            async with handed_over(serving, asked, request.request_id, choices) as handover:
                writer = GenerateWriter(choices, handover.told)
                await asyncio.sleep(FRONTEND_SECONDS / serving.config.speed)
                run = generating(
                    runner, handover.sequences, arrived, every_token=asked.stream, watch=handover.watch
                )
                async with run as generation:
                    while generation.going_on and (emissions := await wait.take(generation)):
                        for emission in emissions:
                            if asked.stream:
                                await write(writer.piece(emission))
                            if emission.reason:
                                await write(writer.end(emission))
            wait.over.set()
            if wait.ended:
                for message in writer.aborted():
                    await write(message)
            else:
                count_answered(serving, asked, choices)

    async def _embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        serving, arrived = self._serving, self._arrived()
        tokens = read_tokens(request.tokenized)
        sequence = Sequence(id=uuid.uuid4().hex, prompt_tokens=len(tokens), output_tokens=1)
        with serving.loaded():
            await asyncio.sleep(FRONTEND_SECONDS / serving.config.speed)
            runner = serving.ranks.chosen(None)
            async with generating(runner, [sequence], arrived, every_token=False) as generation:
                await generation.finish()
        values = vector(tokens, serving.config.embedding_dimensions).tolist()
        return pb.EmbedResponse(embedding=values, prompt_tokens=len(tokens), embedding_dim=len(values))

    def _arrived(self) -> float:
        self._serving.check_ready()
        self._last_request = self._serving.unix_seconds()
        return self._serving.clock()

    def _runner(self, request: pb.GenerateRequest) -> Runner:
        rank = str(request.data_parallel_rank) if request.HasField("data_parallel_rank") else None
        try:
            return self._serving.ranks.chosen(rank)
        except ValueError as error:
            raise ApiError(400, str(error), param="data_parallel_rank") from error

    @contextmanager
    def _waiting(self, request_id: str) -> Iterator[_Wait]:
        """Let `Abort` find a request while the context is open; ids are the clients' and may repeat."""
        wait = _Wait()
        self._underway.setdefault(request_id, []).append(wait)
        try:
            yield wait
        finally:
            wait.over.set()
            others = self._underway[request_id]
            others.remove(wait)
            if not others:
                del self._underway[request_id]


class _Wait:
    """A request's wait for its tokens, which somebody else may end."""

    def __init__(self) -> None:
        self.ended = False
        self.over = asyncio.Event()
        """Set when the request holds nothing any more."""
        self._scope: asyncio.Timeout | None = None

    def end(self) -> None:
        """Let `take` return nothing, now and from now on."""
        self.ended = True
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def take(self, generation: Generation) -> list[Emission]:
        """Return what came next; nothing once ended."""
        if self.ended:
            return []
        try:
            async with asyncio.timeout(None) as self._scope:
                return await generation.take()
        except TimeoutError:
            return []
        finally:
            self._scope = None


@asynccontextmanager
async def _errors_told(context: _Context) -> AsyncIterator[None]:
    """Make refusals statuses of the call."""
    try:
        yield
    except CannotRun as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except ApiError as error:
        await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)


async def _refuse(context: _Context, message: str) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)
    raise AssertionError("abort raises")
