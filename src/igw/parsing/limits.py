"""How deep, how wide and how full of media a JSON body may be. How large it may be is the session's matter, forms have limits of their own."""

from __future__ import annotations

import msgspec
import numpy as np

from igw.errors import BadRequest
from igw.parsing.api import Body


class Limits(msgspec.Struct, frozen=True):
    """What is over them is answered 400."""

    depth: int = 0
    """Arrays and objects in each other; 0: what the decoder bears, nearly 1,000. That costs nothing, a limit below costs about 2 us/KB."""
    keys: int = 0
    """Of all objects together; 0: any number. Those that mean nothing to us are skipped, not kept."""
    media: int = 512
    """Images, videos, sounds and documents of one request."""


_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}:"'))
_AT_A_TIME_BYTES = 1 << 20
_QUOTE, _COLON = b'":'


def check(text: Body, limits: Limits) -> None:
    """Check depth and keys of *text*, some JSON.

    Raises:
        BadRequest: it is over one of *limits*.
    """
    most_depth, most_keys = limits.depth or len(text), limits.keys or len(text)
    # No depth without brackets and no key without a colon.
    if text.count(b"[") + text.count(b"{") <= most_depth and text.count(b":") <= most_keys:
        return
    # What is escaped goes first, so that quotes are the borders of strings.
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _ALL_BUT_STRUCTURE)
    depth, keys, inside = 0, 0, False
    for at in range(0, len(bare), _AT_A_TIME_BYTES):
        part = np.frombuffer(bare[at : at + _AT_A_TIME_BYTES], np.uint8)
        quoted = np.logical_xor.accumulate(part == _QUOTE) ^ inside
        inside = bool(quoted[-1])
        part = part[~quoted]
        keys += int((part == _COLON).sum())
        opens, closes = (part == ord("[")) | (part == ord("{")), (part == ord("]")) | (part == ord("}"))
        levels = depth + np.cumsum(opens.astype(np.int32) - closes)
        if levels.max(initial=0) > most_depth:
            raise BadRequest(f"the request body is nested deeper than {limits.depth} levels")
        if keys > most_keys:
            raise BadRequest(f"the request body has more than {limits.keys} keys")
        depth = int(levels[-1]) if len(levels) else depth
