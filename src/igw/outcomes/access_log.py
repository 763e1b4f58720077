"""OTLP access-log records of the proxy -> outcomes: how lean mode learns what became of an answer it never sees.

Source: OpenTelemetry `LogsService.Export`; attributes as `igw.gateway` configures them in Envoy's OTLP access log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.logs.v1 import logs_pb2

from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.grpc_status import as_http
from igw.parsing.usage import Usage

SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"

# Two packages install these messages under different names for the same field number; the number is the contract.
_SCOPES = logs_pb2.ResourceLogs.DESCRIPTOR.fields_by_number[2].name
_RECORDS = getattr(logs_pb2.ResourceLogs(), _SCOPES).add().DESCRIPTOR.fields_by_number[2].name

_CLIENT_LEFT = {"DC"}
_UPSTREAM_FAILED = {"UF", "UC", "UR", "UH", "LR", "URX", "UT", "UMSDR", "UPE", "SI"}
"""Envoy response flags: the upstream refused, reset, ran into a timeout or sent nonsense."""


def outcome(attributes: dict[str, str]) -> Outcome:
    """Return what one access-log record tells."""
    flags = {flag for flag in attributes.get("flags", "").split(",") if flag not in ("", "-")}
    # What a gRPC call says of its end counts, not the 200 that it begins with.
    status = as_http(attributes.get("grpc_status", "")) or _int(attributes, "status") or 0
    return Outcome(
        end=_end(flags, status),
        status=status,
        served_by=attributes.get("endpoint", "").strip("-"),
        unreachable="UF" in flags,
        ttft_seconds=_seconds(attributes, "ttft_us"),
        duration_seconds=_seconds(attributes, "duration_us"),
        served_ttft_seconds=_seconds(attributes, "upstream_first_byte_us"),
        upload_seconds=max(0.0, _seconds(attributes, "upload_us") or 0.0),
        download_seconds=max(0.0, _seconds(attributes, "download_us") or 0.0),
        response_bytes=_int(attributes, "bytes_out"),
        usage=Usage(
            prompt_tokens=_int(attributes, "prompt_tokens"),
            completion_tokens=_int(attributes, "completion_tokens"),
            cached_tokens=_int(attributes, "cached_tokens"),
        ),
    )


def _end(flags: set[str], status: int) -> End:
    if flags & _CLIENT_LEFT:
        return End.ABORTED
    if flags & _UPSTREAM_FAILED or status == 0:
        return End.FAILED
    return End.COMPLETE


def _int(attributes: dict[str, str], name: str) -> int | None:
    value = attributes.get(name, "")
    try:
        return int(float(value))  # Lua numbers may come as 12.0
    except (ValueError, OverflowError):  # "-", "nan"; "inf"
        return None


def _seconds(attributes: dict[str, str], name: str) -> float | None:
    value = _int(attributes, name)
    return None if value is None else value / 1e6


class AccessLog:
    """The gRPC service the proxy reports to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def export(self, message: Any, _context: Any) -> Any:
        """Close the reservations that the records in *message* tell the end of."""
        for record in records(message):
            attributes = {item.key: item.value.string_value for item in record.attributes}
            decision, request_id = attributes.get("decision", ""), attributes.get("request_id", "-")
            if decision.isdecimal():
                self._ledger.close(int(decision), outcome(attributes))
            elif request_id != "-":
                self._ledger.over(request_id, outcome(attributes))
        return logs_service_pb2.ExportLogsServiceResponse()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of the service."""
        method: Callable[..., Any] = self.export
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Export": grpc.unary_unary_rpc_method_handler(
                    method,
                    request_deserializer=logs_service_pb2.ExportLogsServiceRequest.FromString,
                    response_serializer=logs_service_pb2.ExportLogsServiceResponse.SerializeToString,
                )
            },
        )


def records(message: Any) -> Iterable[Any]:
    """Yield the records of an `ExportLogsServiceRequest`."""
    for resource in message.resource_logs:
        for scope in getattr(resource, _SCOPES):
            yield from getattr(scope, _RECORDS)
