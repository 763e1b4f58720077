"""A small endpoint picker for tests: ext_proc, health and OTLP logs, deciding whatever the test says.

Run as a program it sends everything to the endpoint named on its command line, so that a test can stop the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as wire
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from google.protobuf import json_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from igw.outcomes.access_log import records

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
DESTINATION = "x-gateway-destination-endpoint"


@dataclass(frozen=True)
class Asked:
    """One request as the picker saw it."""

    headers: dict[str, str]
    body: bytes
    metadata: dict[str, str]


@dataclass(frozen=True)
class Pick:
    """Where the request goes, and what else is set; no endpoint leaves it to Envoy."""

    endpoint: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    decision: str = "decision-1"


@dataclass(frozen=True)
class Answer:
    """An answer of the picker's own (ImmediateResponse)."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    details: str = ""


Decide = Callable[[Asked], Pick | Answer]


class Picker(external_processor_pb2_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """The picker; *decide* may be changed at any time."""

    def __init__(self) -> None:
        self.decide: Decide = lambda _asked: Pick()
        self.asked: list[Asked] = []
        self.logs: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.port = 0
        self.hanging: asyncio.Event | None = None
        """If set, the next request is never decided; the event tells that it has come."""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def log(self) -> dict[str, str]:
        """Return the next log record's attributes."""
        async with asyncio.timeout(10):
            return await self.logs.get()

    async def start(self) -> None:
        """Listen, on the port it had before if it was started before."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(self, self._server)
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            logs_service_pb2.ExportLogsServiceRequest.FromString,
            logs_service_pb2.ExportLogsServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "opentelemetry.proto.collector.logs.v1.LogsService", {"Export": export}
                ),
            )
        )
        self.checks = checks = health.aio.HealthServicer()
        await checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def says(self, *, serving: bool) -> None:
        """Answer health checks like this from now on."""
        states = health_pb2.HealthCheckResponse
        await self.checks.set(SERVICE, states.SERVING if serving else states.NOT_SERVING)

    async def stop(self) -> None:
        """Close everything at once, as a killed process would."""
        await self._server.stop(None)

    async def _export(self, request: Any, _context: Any) -> Any:
        for record in records(request):
            self.logs.put_nowait({item.key: item.value.string_value for item in record.attributes})
        return logs_service_pb2.ExportLogsServiceResponse()

    async def Process(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Serve one request."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        headers: dict[str, str] = {}
        streamed, body = False, b""
        if self.hanging is not None:
            self.hanging.set()
            await asyncio.Future()
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "request_headers":
                mode = request.protocol_config.request_body_mode
                streamed = mode == processing_mode_pb2.ProcessingMode.FULL_DUPLEX_STREAMED
                headers = {h.key: h.raw_value.decode() for h in request.request_headers.headers.headers}
                if request.request_headers.end_of_stream:
                    yield self._reply(Asked(headers, b"", metadata), "request_headers")
                elif not streamed:
                    yield wire.ProcessingResponse(request_headers=wire.HeadersResponse())
            elif kind == "request_body":
                body += request.request_body.body
                if not streamed:
                    yield self._reply(Asked(headers, body, metadata), "request_body")
                elif request.request_body.end_of_stream:
                    yield self._reply(Asked(headers, body, metadata), "request_headers")
                    for chunk in _chunks(body):
                        yield chunk

    def _reply(self, asked: Asked, phase: str) -> Any:
        self.asked.append(asked)
        decision = self.decide(asked)
        if isinstance(decision, Answer):
            return wire.ProcessingResponse(
                immediate_response=wire.ImmediateResponse(
                    status={"code": decision.status},
                    body=decision.body.encode(),
                    headers=_mutation(decision.headers),
                    details=decision.details,
                )
            )
        destination = {DESTINATION: decision.endpoint} if decision.endpoint else {}
        common = wire.CommonResponse(header_mutation=_mutation({**destination, **decision.headers}))
        reply = wire.ProcessingResponse()
        json_format.ParseDict(
            {"envoy.lb": {**destination, "igw-decision": decision.decision}}, reply.dynamic_metadata
        )
        getattr(reply, phase).response.CopyFrom(common)
        return reply


def _mutation(headers: dict[str, str]) -> Any:
    return wire.HeaderMutation(
        set_headers=[
            base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=key, raw_value=value.encode()))
            for key, value in headers.items()
        ]
    )


def _chunks(body: bytes, size: int = 62_000) -> list[Any]:
    pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    return [
        wire.ProcessingResponse(
            request_body=wire.BodyResponse(
                response=wire.CommonResponse(
                    body_mutation=wire.BodyMutation(
                        streamed_response=wire.StreamedBodyResponse(
                            body=piece, end_of_stream=index == len(pieces) - 1
                        )
                    )
                )
            )
        )
        for index, piece in enumerate(pieces)
    ]


async def _main(endpoint: str) -> None:
    picker = Picker()
    picker.decide = lambda _asked: Pick(endpoint)
    await picker.start()
    print(picker.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
