"""The lists of models of several servers -> one list, in OpenAI's form. Pure; who is asked is in `catalogue`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


class _Listed(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


_page = msgspec.json.Decoder(_Page).decode
_listed = msgspec.json.Decoder(_Listed).decode


def models(page: bytes) -> dict[str, bytes]:
    """Return the models of one server's `GET /v1/models`: id -> the entry as the server wrote it, `root` and `parent` included.

    Raises:
        msgspec.DecodeError: the page is no such list.
    """
    return {_listed(entry).id: bytes(entry) for entry in _page(page).data}


def merged(found: Iterable[dict[str, bytes]]) -> dict[str, bytes]:
    """Return all of *found* in order; of the same model the first entry stays."""
    whole: dict[str, bytes] = {}
    for each in found:
        for name, entry in each.items():
            whole.setdefault(name, entry)
    return whole


def written(entries: dict[str, bytes]) -> bytes:
    """Return the list of *entries* as `GET /v1/models` answers it."""
    return b'{"object":"list","data":[' + b",".join(entries.values()) + b"]}"


def unknown(model: str) -> bytes:
    """Return the answer to `GET /v1/models/<model>` for a model that nobody serves."""
    error: dict[str, Any] = {
        "message": f"There is no model `{model}` here; GET /v1/models lists those there are.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    return msgspec.json.encode({"error": error})
