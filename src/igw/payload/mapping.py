"""What the body-based router answers -> protobuf, beside what `extproc.mapping` has.

Source: envoy/service/ext_proc/v3/external_processor.proto (Envoy 1.40).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from igw.extproc import mapping
from igw.payload.session import Answer, SetHeaders

_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def reply(effect: Any) -> Any:
    """Return the `ProcessingResponse` that carries *effect*."""
    special = _REPLIES.get(type(effect))
    return special(effect) if special else mapping.reply(effect)


def _set_headers(effect: SetHeaders) -> Any:
    response = pb.ProcessingResponse()
    common = getattr(response, effect.part).response
    # Even where nothing was set: the route may have been chosen by what a client said.
    common.clear_route_cache = True
    mutation = common.header_mutation
    for name, value in effect.headers.items():
        if value is None:
            mutation.remove_headers.append(name)
        else:
            header = mutation.set_headers.add(append_action=_OVERWRITE).header
            header.key, header.raw_value = name, value.encode()
    if effect.body is not None:
        common.body_mutation.body = effect.body
    return response


def _answer(effect: Answer) -> Any:
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = effect.status
    answer.body = effect.body
    answer.details = "igw_models"
    header = answer.headers.set_headers.add().header
    header.key, header.raw_value = "content-type", b"application/json"
    return response


_REPLIES: dict[type[Any], Callable[[Any], Any]] = {SetHeaders: _set_headers, Answer: _answer}
