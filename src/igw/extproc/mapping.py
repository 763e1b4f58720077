"""Protobuf <-> values: the only place, with the server, that names an Envoy message.

Source: envoy/service/ext_proc/v3/external_processor.proto (Envoy 1.40); protocol 004 for headers and metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from igw.errors import Rejected
from igw.extproc import session as s
from igw.request import Head

DESTINATION = "x-gateway-destination-endpoint"
DROPPED_REASON = "x-llm-d-request-dropped-reason"
_LB = "envoy.lb"
_SUBSET_NAMESPACE = "envoy.lb.subset_hint"
_SUBSET = "x-gateway-destination-endpoint-subset"
_SERVED = "x-gateway-destination-endpoint-served"
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


def event(message: Any, pool: str) -> s.Event:
    """Return the event a `ProcessingRequest` stands for; *pool* is what the gateway named for this exchange.

    Raises:
        igw.extproc.session.ProtocolError: a message without content.
    """
    kind = message.WhichOneof("request")
    reader = _READERS.get(kind)
    if reader is None:
        raise s.ProtocolError("an empty message")
    return reader(message, pool)


def _request_headers(message: Any, pool: str) -> s.Event:
    content = message.request_headers
    headers = _headers(content.headers.headers)
    head = Head(
        path=headers.get(":path") or headers.get("x-original-path") or headers.get("x-forwarded-path") or "",
        method=headers.get(":method", "POST"),
        headers=headers,
        pool=pool,
        subset=_subset(message),
    )
    return s.RequestHeaders(head, content.end_of_stream, _modes(message))


def _request_body(message: Any, _pool: str) -> s.Event:
    content = message.request_body
    return s.RequestBody(content.body, content.end_of_stream, _subset(message))


def _response_headers(message: Any, _pool: str) -> s.Event:
    content = message.response_headers
    headers = _headers(content.headers.headers)
    status = headers.get(":status") or headers.get("status") or "0"
    served_by = ""
    if message.HasField("metadata_context"):
        metadata = message.metadata_context.filter_metadata
        if _LB in metadata and _SERVED in metadata[_LB].fields:
            served_by = metadata[_LB].fields[_SERVED].string_value
    return s.ResponseHeaders(
        int(status) if status.isdigit() else 0, content.end_of_stream, served_by, _modes(message)
    )


_READERS: dict[str | None, Callable[[Any, str], s.Event]] = {
    "request_headers": _request_headers,
    "request_body": _request_body,
    "request_trailers": lambda _message, _pool: s.RequestTrailers(),
    "response_headers": _response_headers,
    "response_body": lambda message, _pool: s.ResponseBody(
        message.response_body.body, message.response_body.end_of_stream
    ),
    "response_trailers": lambda _message, _pool: s.ResponseTrailers(),
}


def _headers(headers: Iterable[Any]) -> Mapping[str, str]:
    # Envoy fills raw_value; others fill value. Latin-1 never fails and keeps every byte.
    return {header.key.lower(): header.value or header.raw_value.decode("latin-1") for header in headers}


def _modes(message: Any) -> s.Modes:
    if not message.HasField("protocol_config"):
        return s.Modes()
    config = message.protocol_config
    return s.Modes(s.BodyMode(config.request_body_mode), s.BodyMode(config.response_body_mode))


def _subset(message: Any) -> tuple[str, ...] | None:
    """Return the subset hint: a list, or one string of comma-separated endpoints. Anything else allows nobody."""
    if not message.HasField("metadata_context"):
        return None
    metadata = message.metadata_context.filter_metadata
    if _SUBSET_NAMESPACE not in metadata or _SUBSET not in metadata[_SUBSET_NAMESPACE].fields:
        return None
    value = metadata[_SUBSET_NAMESPACE].fields[_SUBSET]
    if value.WhichOneof("kind") == "list_value":
        return tuple(item.string_value for item in value.list_value.values)
    return tuple(part.strip() for part in value.string_value.split(",") if part.strip())


# Replies ----------------------------------------------------------------------------------------------------------


def reply(effect: s.Acknowledge | s.SendPick | s.SetAnswerHeaders | s.PassBody | s.Refuse) -> Any:
    """Return the `ProcessingResponse` that carries *effect*."""
    if isinstance(effect, s.Acknowledge):
        return _ACKNOWLEDGE[effect.part]
    return _REPLIES[type(effect)](effect)


def _pick(effect: s.SendPick) -> Any:
    """Return the reply that carries the pick: as header and as metadata, with the same value (protocol 004)."""
    decision = effect.decision
    response = pb.ProcessingResponse()
    if effect.part == "request_trailers":
        response.request_trailers.SetInParent()
    else:
        common = getattr(response, effect.part).response
        mutation = common.header_mutation
        header = mutation.set_headers.add().header
        header.key, header.raw_value = DESTINATION, effect.destination.encode()
        mutation.remove_headers.extend(effect.remove_headers)
        if decision.delivery.headers:
            _set_headers(mutation, decision.delivery.headers)
    fields = response.dynamic_metadata.fields[_LB].struct_value.fields
    fields[DESTINATION].string_value = effect.destination
    fields[DECISION].string_value = str(decision.id)
    return response


def _answer(effect: s.SetAnswerHeaders) -> Any:
    response = pb.ProcessingResponse()
    _set_headers(response.response_headers.response.header_mutation, effect.headers)
    return response


def _set_headers(mutation: Any, headers: Mapping[str, str]) -> None:
    """Set *headers* whatever there was under their names before: a client must not speak for the picker."""
    for key, value in headers.items():
        option = mutation.set_headers.add(append_action=_OVERWRITE)
        option.header.key, option.header.raw_value = key, value.encode()


def _pass_body(effect: s.PassBody) -> Any:
    """Return a piece of a body on its way, in full-duplex mode."""
    response = pb.ProcessingResponse()
    piece = getattr(response, effect.part).response.body_mutation.streamed_response
    piece.body = bytes(effect.data)
    piece.end_of_stream = effect.end
    return response


class _Error(msgspec.Struct):
    message: str
    type: str
    param: None
    code: str


def _refuse(effect: s.Refuse) -> Any:
    """Return an answer in the model server's place, with the error object that OpenAI's clients read."""
    rejected = effect.rejected
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = rejected.status
    answer.body = msgspec.json.encode(
        {
            "error": _Error(
                rejected.message, _ERROR_TYPES.get(rejected.status, "server_error"), None, rejected.code
            )
        }
    )
    answer.details = "igw_" + rejected.reason.replace("-", "_")
    for key, value in _answer_headers(rejected):
        header = answer.headers.set_headers.add().header
        header.key, header.raw_value = key, value.encode()
    return response


_ERROR_TYPES = {400: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}


def _answer_headers(rejected: Rejected) -> Iterable[tuple[str, str]]:
    yield "content-type", "application/json"
    yield DROPPED_REASON, rejected.reason
    if rejected.retry_after_seconds is not None:
        yield "retry-after", str(rejected.retry_after_seconds)


_REPLIES: dict[type[Any], Callable[[Any], Any]] = {
    s.SendPick: _pick,
    s.SetAnswerHeaders: _answer,
    s.PassBody: _pass_body,
    s.Refuse: _refuse,
}
