"""Long base64 strings in a body of JSON: found and hashed while it arrives, and left out of the text that is decoded.

An image of 20 MB is so walked over once, by searches and a hash that run at memory speed. What a string means is not known here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from xxhash import xxh3_128

from igw.parsing.api import Body

LONG_BYTES = 16 << 10
"""From here on a string is put aside. A body that is not longer has none."""

_QUOTE, _BACKSLASH = 0x22, 0x5C
_HEAD_BYTES = 256
_HEAD = re.compile(rb'(?:data:[^",]{0,160},)?()(?:[A-Za-z0-9+/=_-]|\\/){64}')
"""How such a string begins: base64 of either alphabet (PHP escapes the slash), perhaps behind the head of a data URL (RFC 2397)."""


class Run(msgspec.Struct, frozen=True):
    """One long string: its content is `body[start:end]`, without quotes and without the head of a data URL."""

    start: int
    end: int
    digest: str
    """xxh3_128 in hex of the content as it stands there."""


class LongStrings:
    """Finds them. Feed it a body that grows; every byte is looked at once.

    Between two quotes that are `LONG_BYTES` apart or more there is one: so only every so many bytes the last quote is searched backwards.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._at = 0  # behind the last quote that was seen
        self._seen = 0  # no quote between there and here
        self._digest: Any = None
        self._start = -1  # of the content that is being hashed, up to `_seen`

    def feed(self, body: Body) -> None:
        """Go on to the end of *body*, which begins with what was fed before."""
        end = len(body)
        while True:
            if self._seen < self._at + LONG_BYTES:
                if self._at + LONG_BYTES > end:
                    return
                last = body.rfind(b'"', self._at, self._at + LONG_BYTES)
                if last >= 0:
                    self._at = self._seen = last + 1
                    continue
                self._open(body)
            close = body.find(b'"', self._seen)
            upto = end if close < 0 else close
            if self._digest is not None:
                self._digest.update(memoryview(body)[max(self._start, self._seen) : upto])
            self._seen = upto
            if close < 0:
                return
            self._close(body, close)

    def _open(self, body: Body) -> None:
        at = self._at
        self._seen = at
        quoted = at > 0 and body[at - 1] == _QUOTE and (at < 2 or body[at - 2] != _BACKSLASH)
        head = _HEAD.match(bytes(body[at : at + _HEAD_BYTES])) if quoted else None
        if head is not None:
            self._digest, self._start = xxh3_128(), at + head.start(1)
        # At least so far there is no quote; what is not base64 is skipped at once.
        else:
            self._seen = at + LONG_BYTES

    def _close(self, body: Body, close: int) -> None:
        if self._digest is not None and body[close - 1] != _BACKSLASH:
            self.runs.append(Run(self._start, close, self._digest.hexdigest()))
        self._digest, self._at, self._seen = None, close + 1, close + 1


class Arriving(bytearray):
    """A body that arrives in pieces; its long strings are known when it is whole."""

    __slots__ = ("_found",)

    def __init__(self, piece: Body = b"") -> None:
        super().__init__(piece)
        self._found = LongStrings()
        self._found.feed(self)

    def add(self, piece: bytes) -> None:
        """Append *piece*."""
        self.extend(piece)
        self._found.feed(self)

    @property
    def runs(self) -> list[Run]:
        """The long strings."""
        return self._found.runs


class Short(msgspec.Struct, frozen=True):
    """A body without its long strings: each has its digest in its place."""

    body: Body
    text: bytes
    places: tuple[tuple[int, Run], ...]
    """Offsets in `text` of the digests, ascending."""

    def original(self, start: int, length: int) -> memoryview | None:
        """Return the slice of the body that is `text[start : start + length]`; None if a long string is in it."""
        if any(start <= at < start + length for at, _ in self.places):
            return None
        start += sum([run.end - run.start - len(run.digest) for at, run in self.places if at < start])
        return memoryview(self.body)[start : start + length]


def shortened(body: Body) -> Short | None:
    """Return *body* without its long strings; None if there are none."""
    if isinstance(body, Arriving):
        runs = body.runs
    else:
        found = LongStrings()
        found.feed(body)
        runs = found.runs
    if not runs:
        return None
    whole, at, length = memoryview(body), 0, 0
    pieces: list[bytes | memoryview] = []
    places: list[tuple[int, Run]] = []
    for run in runs:
        length += run.start - at
        places.append((length, run))
        pieces += [whole[at : run.start], run.digest.encode()]
        length += len(run.digest)
        at = run.end
    pieces.append(whole[at:])
    return Short(body, b"".join(pieces), tuple(places))
