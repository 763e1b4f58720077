"""Heads, bodies and files that tests of several parsers start from."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import msgspec

from igw.parsing.reading import read
from igw.parsing.registry import Apis
from igw.request import Head, Request

CHAT = "/v1/chat/completions"


def head(path: str = CHAT, **headers: str) -> Head:
    """Return the head of a POST; underscores in header names stand for hyphens."""
    return Head(path, "POST", {name.replace("_", "-"): value for name, value in headers.items()})


def asked(path: str, apis: Apis = Apis(), **fields: Any) -> Request:  # noqa: B008 (immutable)
    """Return the request that a JSON body with *fields* becomes."""
    return read(head(path), msgspec.json.encode(fields), apis)


def text(request: Request) -> bytes:
    """Return the prompt as one text."""
    return b"".join(bytes(part) for part in request.prompt)


def png(width: int, height: int, noise: bytes = b"") -> bytes:
    """Return a PNG file as far as anybody here looks at it, with *noise* behind its head."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + struct.pack(">I", zlib.crc32(header)) + noise


def base64_of(file: bytes) -> str:
    """Return *file* as base64."""
    return base64.b64encode(file).decode()
