"""A collector of traces: the gRPC service that pickers send spans to, and the tree that it got."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector:
    """Keeps every span by its name."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.address = ""
        self._more = asyncio.Condition()

    async def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Take spans (gRPC method)."""
        async with self._more:
            for resource in request.resource_spans:
                self.resources.append(attributes(resource.resource))
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            self._more.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    async def until(self, name: str, count: int = 1, within_seconds: float = 20.0) -> list[Any]:
        """Return the spans called *name* once there are so many."""
        async with asyncio.timeout(within_seconds), self._more:
            await self._more.wait_for(lambda: len(self.named(name)) >= count)
        return self.named(name)

    def named(self, name: str) -> list[Any]:
        """Return the spans of that name."""
        return [each for each in self.spans if each.name == name]

    def tree(self, root: Any) -> dict[str, Any]:
        """Return the names below *root*, as they nest, in order of their begin."""
        below = [each for each in self.spans if each.parent_span_id == root.span_id]
        below.sort(key=lambda each: (each.start_time_unix_nano, each.name))
        return {each.name: self.tree(each) for each in below}


def attributes(holder: Any) -> dict[str, Any]:
    """Return what a span or resource says, as plain values."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in holder.attributes}


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Serve a collector on loopback."""
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
