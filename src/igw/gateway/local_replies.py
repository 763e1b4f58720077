"""What a client reads when Envoy itself has to answer: OpenAI's error shape, and why in a header.

Answers of the picker (ImmediateResponse) and of model servers pass as they are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from igw.gateway.xds import typed

DROPPED = "x-llm-d-request-dropped-reason"
"""The header that says why (upstream's name)."""


class Reply(msgspec.Struct, frozen=True):
    """One of Envoy's own answers: *when* is a CEL expression over the response, *status* None keeps Envoy's."""

    when: str
    message: str
    type: str
    code: str
    reason: str = ""
    status: int | None = None
    retry: bool = False
    param: str | None = None


# The picker's ImmediateResponse has no details, or its own and then a content type; Envoy writes its content type later.
_OURS = "response.code_details != '' && !('content-type' in response.headers)"

_PICKER_FAILED = "response.code_details.startsWith('ext_proc_')"

REPLIES = (
    Reply(
        "response.code_details == 'direct_response'",
        "The route of this request has no backend.",
        "server_error",
        "no_backend",
    ),
    Reply(
        "response.code_details == 'route_not_found'",
        "No route of this gateway matches the host, path and headers of the request.",
        "invalid_request_error",
        "route_not_found",
        "rejected-no-route",
    ),
    Reply(
        "response.code == 413",
        "The request's body is larger than this gateway accepts.",
        "invalid_request_error",
        "request_too_large",
        "rejected-too-large",
    ),
    Reply(
        _PICKER_FAILED,
        "The endpoint picker does not answer.",
        "service_unavailable_error",
        "picker_unavailable",
        "rejected-picker-unavailable",
        503,
        True,
    ),
    Reply(
        "response.code == 503",
        "No model server of the pool can be reached.",
        "service_unavailable_error",
        "no_endpoints",
        "rejected-no-endpoints",
        None,
        True,
    ),
    Reply("response.code == 504", "The model server did not answer in time.", "timeout_error", "timeout"),
    Reply(
        "response.code == 408",
        "Nothing arrived of the request for too long.",
        "invalid_request_error",
        "timeout",
    ),
    Reply("response.code == 429", "Too many requests.", "rate_limit_error", "rate_limited", "", None, True),
    Reply(
        "response.code >= 500", "The gateway could not serve the request.", "server_error", "gateway_error"
    ),
    Reply(
        "response.code >= 400",
        "The gateway could not understand the request.",
        "invalid_request_error",
        "bad_request",
    ),
)
"""Asked in this order; the first that fits is sent."""


BY_BODY = (
    Reply(
        "response.code_details == 'cluster_not_found' && 'x-gateway-model-name' in request.headers",
        "There is no model `%REQ(X-GATEWAY-MODEL-NAME)%` here; GET /v1/models lists those there are.",
        "invalid_request_error",
        "model_not_found",
        "rejected-no-route",
        param="model",
    ),
    Reply(
        "response.code_details == 'cluster_not_found'",
        "No route of this gateway matches the host, path and headers of the request, and its body names no model.",
        "invalid_request_error",
        "route_not_found",
        "rejected-no-route",
    ),
)
"""What is asked before `REPLIES` where routes are chosen by the body."""


def local_reply_config(*, by_body: bool = False) -> dict[str, Any]:
    """Return `local_reply_config` of the HTTP connection manager; *by_body*: of a listener whose routes are chosen by the body."""
    return {"mappers": [_mapper(reply) for reply in (*(BY_BODY if by_body else ()), *REPLIES)]}


def error_body(reply: Reply) -> str:
    """Return *reply* as OpenAI's SDKs expect an error."""
    return msgspec.json.encode(_error(reply)).decode()


def _error(reply: Reply) -> dict[str, Any]:
    return {"error": {"message": reply.message, "type": reply.type, "param": reply.param, "code": reply.code}}


def _body(reply: Reply) -> dict[str, Any]:
    # Where the message repeats what a client wrote, Envoy has to escape it.
    if "%" in reply.message:
        return {"json_format": _error(reply)}
    return {"text_format_source": {"inline_string": error_body(reply)}, "content_type": "application/json"}


def _mapper(reply: Reply) -> dict[str, Any]:
    headers = ([(DROPPED, reply.reason)] if reply.reason else []) + (
        [("retry-after", "1")] if reply.retry else []
    )
    mapper: dict[str, Any] = {
        "filter": {
            "extension_filter": {
                "name": "cel",
                "typed_config": typed(
                    "access_loggers.filters.cel.v3.ExpressionFilter", expression=f"{_OURS} && {reply.when}"
                ),
            }
        },
        "body_format_override": _body(reply),
        "headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers
        ],
    }
    if reply.status is not None:
        mapper["status_code"] = reply.status
    return mapper
