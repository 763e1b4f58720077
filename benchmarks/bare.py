"""The floor: an ext_proc service on `grpc.aio` without any logic. It picks endpoints by turns, reads nothing, logs nothing.

Run as `python -m benchmarks.bare PORT...` (endpoints to pick); prints its address as one JSON line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from typing import Any

os.environ.setdefault(
    "GRPC_EXPERIMENTS", "-event_engine_listener"
)  # as `igw epp` does, or it would be no floor

import grpc
import uvloop
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from igw.extproc.server import SERVICE
from igw.outcomes import access_log

_ACKNOWLEDGE = pb.ProcessingResponse(request_headers=pb.HeadersResponse())


async def main(ports: list[int]) -> None:
    """Serve until the process is ended."""
    turns = itertools.cycle(ports)

    async def process(_requests: Any, stream: Any) -> None:
        while (message := await stream.read()) is not grpc.aio.EOF:
            if message.HasField("request_headers"):
                await stream.write(_ACKNOWLEDGE)
                continue
            reply = pb.ProcessingResponse()
            reply.request_body.SetInParent()
            fields = reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields
            fields["x-gateway-destination-endpoint"].string_value = f"127.0.0.1:{next(turns)}"
            await stream.write(reply)

    async def export(_message: Any, _context: Any) -> Any:
        return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    exchange = grpc.stream_stream_rpc_method_handler(
        process, pb.ProcessingRequest.FromString, pb.ProcessingResponse.SerializeToString
    )
    unary: Any = export
    logs = grpc.unary_unary_rpc_method_handler(
        unary,
        logs_service_pb2.ExportLogsServiceRequest.FromString,
        logs_service_pb2.ExportLogsServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, {"Process": exchange}),
            grpc.method_handlers_generic_handler(access_log.SERVICE, {"Export": logs}),
        )
    )
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main([int(port) for port in sys.argv[1:]]))
