"""Candidates and facts on them, as short as a table of cases wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from igw.config.decode import decode
from igw.config.documents import Document
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Head, Request


def endpoints(*labels: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Return an endpoint per set of labels: 10.0.0.1:8000 and so on, named e1, e2 ..."""
    return tuple(
        Endpoint.at(f"10.0.0.{number}", 8000, f"e{number}", labels=each)
        for number, each in enumerate(labels, 1)
    )


def facts(candidates: Sequence[Endpoint] | int, **columns: Any) -> Facts:
    """Return facts on *candidates* (or so many without labels): nothing known but what *columns* say."""
    if isinstance(candidates, int):
        candidates = endpoints(*[{}] * candidates)
    names = ("waiting", "running", "kv_usage", "inflight", "matched_tokens", "inflight_tokens")
    arrays = {name: np.array(columns.pop(name, [0] * len(candidates)), dtype=float) for name in names}
    return Facts(**arrays, endpoints=tuple(candidates), **columns)


def request(headers: Mapping[str, str] | None = None, tokens: int = 0, **fields: Any) -> Request:
    """Return a request of so many prompt tokens."""
    head = Head("/v1/chat/completions", "POST", headers or {})
    return Request(head, prompt_bytes=tokens * 4, **fields)


def plugin(kind: type[Any], **parameters: Any) -> Any:
    """Return a plugin as a configuration file with these parameters makes it."""
    return decode(Document("here", "", kind.type, kind.type, "", parameters), kind)
