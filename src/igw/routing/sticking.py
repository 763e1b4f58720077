"""What requests have in common that are to be answered by the same model. What follows from it is `igw.routing.rewriting`'s business."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import xxhash

from igw.request import Request

SESSION_HEADERS = (
    "x-session-id",
    "x-claude-code-session-id",
    "x-session-affinity",
    "session-id",
    "session_id",
)
"""By which clients name a session: igw's own default, then those that coding agents send."""


def key_of(request: Request, by: str) -> bytes:
    """Return what *request* has in common with others, *by* one of `igw.config.models.STICKY`; empty: nothing."""
    headers = request.head.headers
    if by == "fairness-id":
        return request.fairness_id.encode()
    if by.startswith("header:"):
        return headers.get(by.partition(":")[2].strip().lower(), "").encode()
    if by == "session":
        for name in SESSION_HEADERS:
            if headers.get(name):
                return headers[name].encode()
    return _opening(request)


def _opening(request: Request) -> bytes:
    """Return a digest of the messages of a conversation up to the first of the user: what all its turns begin with.

    A prompt without messages counts whole; the input of a Responses request that is one string is a message.
    """
    prompt = request.prompt
    if not prompt:
        return b""
    # The messages come last, without the bracket that closes them; where media were left out they are several slices.
    first = next(
        (index for index in range(len(prompt) - 1, -1, -1) if bytes(prompt[index][:1]) == b"["), None
    )
    parts = _until_user(prompt[first:]) if first is not None else ()
    if not parts and request.api == "responses":
        parts = _until_user((b'[{"role":"user","content":', prompt[-1], b'"}'))
    digest = xxhash.xxh3_128()
    for part in parts or prompt:
        digest.update(part)
    return digest.digest()


_BETWEEN = re.compile(r"[\s,]*")
_value = json.JSONDecoder().raw_decode
_READ_BYTES = (1 << 16, 1 << 19)
"""How much of a conversation is read; the second only if the first user has not said all in the first."""


def _until_user(messages: Sequence[memoryview | bytes]) -> Sequence[bytes]:
    """Return roles and contents of *messages*, JSON without its last bracket, up to the first of the user; nothing if they are none.

    Of a beginning of more than half a megabyte, the half megabyte: all turns begin with that, too.
    """
    whole = sum([len(part) for part in messages])
    for size in _READ_BYTES:
        found = _read(_head(messages, size), complete=size >= whole)
        if found is not None:
            return [part.encode("utf-8", "surrogatepass") for part in found]
        if size >= whole:
            return ()  # nothing that could be read
    return (_head(messages, _READ_BYTES[-1]).encode("latin-1"),)


def _head(parts: Sequence[memoryview | bytes], size: int) -> str:
    """Return the first *size* bytes of *parts*, a character each: JSON's own characters are ASCII."""
    taken = []
    for part in parts:
        taken.append(bytes(part[: max(0, size)]))
        size -= len(part)
    return b"".join(taken).decode("latin-1")


def _read(text: str, *, complete: bool) -> list[str] | None:
    """Return roles and contents up to the first of the user; None if that is not in *text* as far as it goes, nothing if it has no messages."""
    said: list[str] = []
    at = 1
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between else at
        if at == len(text):
            return said if complete else None
        if text[at] != "{":
            return []
        try:
            message, at = _value(text, at)
        except (ValueError, RecursionError):
            return None
        said += [str(message.get("role")), repr(message.get("content"))]
        if message.get("role") == "user":
            return said
