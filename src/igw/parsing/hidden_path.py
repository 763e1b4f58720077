"""Which API a request is for whose gateway does not say its path: by the field that has the prompt. Paths are `registry`'s business."""

from __future__ import annotations

import msgspec

from igw.parsing.api import Body
from igw.parsing.json_body import present


class _Fields(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Fields).decode


def likely_path(body: Body) -> str:
    """Return the path that *body* was most likely sent to; empty if that cannot be said. Upstream takes all for completions."""
    try:
        fields = _decode(body)
    except msgspec.MsgspecError:
        return ""
    if present(fields.messages):
        return "/v1/chat/completions"
    return "/v1/completions" if present(fields.prompt) else ""
