"""Protobuf <-> values: the only place, with the server, that names an Envoy message.

Source: envoy/service/ext_proc/v3/external_processor.proto (Envoy 1.40); protocol 004 for headers and metadata.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from igw.errors import Rejected
from igw.extproc import events as e
from igw.parsing import grpc_status
from igw.parsing.refusals import error_body
from igw.request import Head

DESTINATION = "x-gateway-destination-endpoint"
DROPPED_REASON = "x-llm-d-request-dropped-reason"
_LB = "envoy.lb"
_SUBSET_NAMESPACE = "envoy.lb.subset_hint"
_SUBSET = "x-gateway-destination-endpoint-subset"
_SERVED = "x-gateway-destination-endpoint-served"
_SCORES = "x-gateway-destination-endpoint-scores"
DECISION = "igw-decision"
"""Key in `envoy.lb` metadata under which the proxy's access log gives our decision's id back."""

_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD

# Replies without content are the same bytes every time.
_ACKNOWLEDGE = {
    "request_headers": pb.ProcessingResponse(request_headers=pb.HeadersResponse()),
    "request_body": pb.ProcessingResponse(request_body=pb.BodyResponse()),
    "request_trailers": pb.ProcessingResponse(request_trailers=pb.TrailersResponse()),
    "response_headers": pb.ProcessingResponse(response_headers=pb.HeadersResponse()),
    "response_body": pb.ProcessingResponse(response_body=pb.BodyResponse()),
    "response_trailers": pb.ProcessingResponse(response_trailers=pb.TrailersResponse()),
}


def event(message: Any, pool: str) -> e.Event:
    """Return the event a `ProcessingRequest` stands for; *pool* is what the gateway named for this exchange.

    Raises:
        igw.extproc.events.ProtocolError: a message without content.
    """
    kind = message.WhichOneof("request")
    reader = _READERS.get(kind)
    if reader is None:
        raise e.ProtocolError("an empty message")
    return reader(message, pool)


def _request_headers(message: Any, pool: str) -> e.Event:
    content = message.request_headers
    headers = _headers(content.headers.headers)
    head = Head(
        path=headers.get(":path") or headers.get("x-original-path") or headers.get("x-forwarded-path") or "",
        method=headers.get(":method", "POST"),
        headers=headers,
        pool=pool,
        subset=_subset(message),
    )
    return e.RequestHeaders(head, content.end_of_stream, _modes(message))


def _request_body(message: Any, _pool: str) -> e.Event:
    content = message.request_body
    return e.RequestBody(content.body, content.end_of_stream, _subset(message))


def _response_headers(message: Any, _pool: str) -> e.Event:
    content = message.response_headers
    headers = _headers(content.headers.headers)
    status = headers.get(":status") or headers.get("status") or "0"
    # A gRPC answer without a message says here already what others say in their trailers; its HTTP status is 200.
    failed = grpc_status.as_http(headers.get("grpc-status", ""))
    served_by = ""
    if message.HasField("metadata_context"):
        metadata = message.metadata_context.filter_metadata
        if _LB in metadata and _SERVED in metadata[_LB].fields:
            served_by = metadata[_LB].fields[_SERVED].string_value
    return e.ResponseHeaders(
        failed or (int(status) if status.isdigit() else 0),
        content.end_of_stream,
        served_by,
        _modes(message),
        headers,
    )


def _response_trailers(message: Any, _pool: str) -> e.Event:
    trailers = _headers(message.response_trailers.trailers.headers)
    return e.ResponseTrailers(grpc_status.as_http(trailers.get("grpc-status", "")))


_READERS: dict[str | None, Callable[[Any, str], e.Event]] = {
    "request_headers": _request_headers,
    "request_body": _request_body,
    "request_trailers": lambda _message, _pool: e.RequestTrailers(),
    "response_headers": _response_headers,
    "response_body": lambda message, _pool: e.ResponseBody(
        message.response_body.body, message.response_body.end_of_stream
    ),
    "response_trailers": _response_trailers,
}


def _headers(headers: Iterable[Any]) -> Mapping[str, str]:
    # Envoy fills raw_value; others fill value. Latin-1 never fails and keeps every byte.
    return {header.key.lower(): header.value or header.raw_value.decode("latin-1") for header in headers}


def _modes(message: Any) -> e.Modes:
    if not message.HasField("protocol_config"):
        return e.Modes()
    config = message.protocol_config
    return e.Modes(e.BodyMode(config.request_body_mode), e.BodyMode(config.response_body_mode))


def _subset(message: Any) -> tuple[str, ...] | None:
    """Return the subset hint: a list, or one string of comma-separated endpoints. What is neither, or no endpoint, allows nobody."""
    if not message.HasField("metadata_context"):
        return None
    metadata = message.metadata_context.filter_metadata
    if _SUBSET_NAMESPACE not in metadata or _SUBSET not in metadata[_SUBSET_NAMESPACE].fields:
        return None
    value = metadata[_SUBSET_NAMESPACE].fields[_SUBSET]
    if value.WhichOneof("kind") == "list_value":
        return tuple(_endpoint(item.string_value) for item in value.list_value.values)
    return tuple(_endpoint(part) for part in value.string_value.split(",") if part.strip())


def _endpoint(written: str) -> str:
    """Return `ip:port`, or an address that stands for all its ports, as endpoints have them: only an IPv6 address with a port in brackets."""
    written = written.strip()
    if written.startswith("[") and "]" in written:
        address, _, port = written[1:].partition("]")
        with suppress(ValueError):
            address = str(ipaddress.IPv6Address(address))
        return f"[{address}]{port}" if port else address
    if written.count(":") > 1:
        with suppress(ValueError):
            return str(ipaddress.IPv6Address(written))
    return written


# Replies ----------------------------------------------------------------------------------------------------------


def reply(
    effect: e.Acknowledge
    | e.Patience
    | e.SendPick
    | e.SetAnswerHeaders
    | e.PassBody
    | e.ReplaceBody
    | e.Refuse,
) -> Any:
    """Return the `ProcessingResponse` that carries *effect*."""
    if isinstance(effect, e.Acknowledge):
        return _ACKNOWLEDGE[effect.part]
    return _REPLIES[type(effect)](effect)


def _pick(effect: e.SendPick) -> Any:
    """Return the reply that carries the pick: as header and as metadata, with the same value (protocol 004)."""
    decision = effect.decision
    response = pb.ProcessingResponse()
    if effect.part == "request_trailers":
        response.request_trailers.SetInParent()
    else:
        common = getattr(response, effect.part).response
        mutation = common.header_mutation
        option = mutation.set_headers.add(append_action=_OVERWRITE)  # a client's own must not stand beside it
        option.header.key, option.header.raw_value = DESTINATION, effect.destination.encode()
        mutation.remove_headers.extend(effect.remove_headers)
        if decision.delivery.headers:
            _set_headers(mutation, decision.delivery.headers)
        if effect.content_length is not None:
            _set_headers(mutation, {"content-length": str(effect.content_length)})
        if effect.body is not None:
            common.body_mutation.body = effect.body
    for namespace, values in decision.delivery.metadata.items():
        response.dynamic_metadata.fields[namespace].struct_value.update(values)
    fields = response.dynamic_metadata.fields[_LB].struct_value.fields
    if effect.scores:
        fields[_SCORES].struct_value.update(effect.scores)
    fields[DESTINATION].string_value = effect.destination
    fields[DECISION].string_value = str(decision.id)
    return response


def _answer(effect: e.SetAnswerHeaders) -> Any:
    response = pb.ProcessingResponse()
    mutation = response.response_headers.response.header_mutation
    _set_headers(mutation, effect.headers)
    mutation.remove_headers.extend(effect.remove)
    return response


def _set_headers(mutation: Any, headers: Mapping[str, str]) -> None:
    """Set *headers* whatever there was under their names before: a client must not speak for the picker."""
    for key, value in headers.items():
        option = mutation.set_headers.add(append_action=_OVERWRITE)
        option.header.key, option.header.raw_value = key, value.encode()


def _pass_body(effect: e.PassBody) -> Any:
    """Return a piece of a body on its way, in full-duplex mode."""
    response = pb.ProcessingResponse()
    piece = getattr(response, effect.part).response.body_mutation.streamed_response
    piece.body = bytes(effect.data)
    piece.end_of_stream = effect.end
    return response


def _replace_body(effect: e.ReplaceBody) -> Any:
    response = pb.ProcessingResponse()
    response.response_body.response.body_mutation.body = effect.data
    return response


def _refuse(effect: e.Refuse) -> Any:
    """Return an answer in the model server's place: the error object that the API's clients read, or a gRPC status."""
    rejected = effect.rejected
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = rejected.status
    answer.details = "igw_" + rejected.reason.replace("-", "_")
    if effect.grpc:
        # A gateway makes status and message of a gRPC error of these, and HTTP 200 (gRPC, PROTOCOL-HTTP2.md, "Trailers-Only").
        answer.grpc_status.status = grpc_status.of_http(rejected.status)
        answer.body = rejected.message.encode()
    elif effect.shape == "plain":
        answer.body = f"inference error: {rejected.code} - {rejected.message}".encode()
    else:
        answer.body = error_body(rejected, effect.shape)
    kind = "text/plain" if effect.shape == "plain" else "application/json"
    for key, value in _answer_headers(rejected, "application/grpc" if effect.grpc else kind):
        header = answer.headers.set_headers.add().header
        header.key, header.raw_value = key, value.encode()
    return response


def _answer_headers(rejected: Rejected, content_type: str) -> Iterable[tuple[str, str]]:
    yield "content-type", content_type
    yield DROPPED_REASON, rejected.reason
    if rejected.retry_after_seconds is not None:
        yield "retry-after", str(rejected.retry_after_seconds)


def _patience(effect: e.Patience) -> pb.ProcessingResponse:
    reply = pb.ProcessingResponse()
    reply.override_message_timeout.FromTimedelta(timedelta(seconds=effect.seconds))
    return reply


_REPLIES: dict[type[Any], Callable[[Any], Any]] = {
    e.Patience: _patience,
    e.SendPick: _pick,
    e.SetAnswerHeaders: _answer,
    e.PassBody: _pass_body,
    e.ReplaceBody: _replace_body,
    e.Refuse: _refuse,
}
