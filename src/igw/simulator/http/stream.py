"""What the event streams of chats and completions have in common: where a chunk begins and how a stream ends."""

from __future__ import annotations

from typing import Any

import msgspec

from igw.simulator.http.answering import Head
from igw.simulator.http.usage import Ended, stream_usage

VERSION = "0.32.0"
"""The vLLM release whose answers these are."""

FINGERPRINT = f"vllm-{VERSION}-igw"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.encode


def chunk_start(head: Head, kind: str) -> bytes:
    """Return a chunk up to its choices; *kind* is its `object`."""
    start = {"id": head.id, "object": kind, "created": head.created, "model": head.model}
    return b"data: " + _encode(start)[:-1] + b',"choices":'


def usage_and_done(head: Head, kind: str, ended: Ended, details: dict[str, Any] | None) -> bytes:
    """Return the end of a stream with `include_usage`: a chunk without choices, and the end mark."""
    usage, fingerprint = _encode(stream_usage(ended, details)), _encode(FINGERPRINT)
    return (
        chunk_start(head, kind)
        + b'[],"usage":'
        + usage
        + b',"system_fingerprint":'
        + fingerprint
        + b"}\n\n"
        + DONE
    )
