"""Reading an answer as it passes, for the token counts it names: whole JSON or a stream of events, cut anywhere.

What an object of counts says is `parsing.usage`, and answers of gRPC have readers of their own. Pieces are only put aside as they
pass and searched every 16 KiB, so what a piece costs is a list's `append`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from igw.parsing.usage import NOTHING, Usage, usage_of

_BLOCK_BYTES = 16 << 10
"""How much is put aside before it is searched."""


class AnswerReader(Protocol):
    """Reads one answer, whatever its bytes. Knows neither its status nor its headers."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer's body."""

    def usage(self) -> Usage:
        """Return what the answer said. Called once, at its end."""


class _InBlocks:
    """Puts bytes aside until there are enough of them to be searched. What is found does not depend on the cuts."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer's body."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _BLOCK_BYTES:
            self._search_block(ended=False)

    def _search_block(self, *, ended: bool) -> None:
        block = b"".join(self._pieces)
        self._pieces = [block[self._search(block, ended=ended) :]]
        self._size = 0  # of what is new: a block is not searched again for a few bytes more

    def _search(self, block: bytes, *, ended: bool) -> int:
        """Look through *block* and return from where on it must be seen again, with what follows; *ended*: nothing follows."""
        raise NotImplementedError


_OBJECT_BYTES = 4 << 10
"""How far an object of counts is read. Recorded ones have up to 400 bytes; only those with logprobs (SGLang, TGI) have more."""
_KEY_BYTES = 64
"""More than a key, its colon and the space around them."""

_object_at = json.JSONDecoder().raw_decode
_number_by_name = re.compile(rb'"([a-z_]+)"\s*:\s*(\d{1,16})(?=[\s,}])').findall


class JsonAnswer(_InBlocks):
    """Reads the last object of counts of an answer; in a stream, what that one leaves out is taken from the first.

    Quotes are escaped within strings, so what a model writes cannot pass for such an object, unless an API writes a tool's
    arguments as JSON of their own: Anthropic's does so in whole answers, where the counts come after them.
    A list of answers in one (SGLang and TGI write them) has one object for each and none for all: nothing is read from it.

    Args:
        *keys: what an object of counts may stand under; `usage` if none is given.
    """

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self._keys = keys or ("usage",)
        self._opens = b""
        self._first = self._last = NOTHING

    def usage(self) -> Usage:
        """Return what the answer said. Called once, at its end."""
        self._search_block(ended=True)
        if self._opens == b"[":
            return NOTHING
        return self._last if self._opens == b"{" else self._last.or_else(self._first)

    def _search(self, block: bytes, *, ended: bool) -> int:
        self._opens = self._opens or block.lstrip()[:1]
        # An object is read once there are as many bytes of it as are ever read, or no more to come.
        ripe = len(block) if ended else len(block) - _OBJECT_BYTES
        starts = [at for at in _objects(block, self._keys) if at < ripe]
        if self._first is NOTHING:
            self._first = next(filter(_told, (_counts(block, at) for at in starts)), NOTHING)
        if starts:
            self._last = next(filter(_told, (_counts(block, at) for at in reversed(starts))), self._last)
        return max(0, ripe - _KEY_BYTES)


_PATTERNS: dict[str, re.Pattern[bytes]] = {}


def _objects(block: bytes, keys: tuple[str, ...]) -> list[int]:
    """Return where the objects under *keys* begin, in order."""
    starts: list[int] = []
    for key in keys:
        quoted = b'"%s"' % key.encode()
        if quoted in block:
            pattern = _PATTERNS.setdefault(key, re.compile(quoted + rb"\s{0,8}:\s{0,8}\{"))
            starts += [match.end() - 1 for match in pattern.finditer(block)]
    return sorted(starts) if len(keys) > 1 else starts


def _counts(block: bytes, at: int) -> Usage:
    """Return what the object at *at* says; of one that is too long, or cut off, what its numbers say by their names."""
    window = block[at : at + _OBJECT_BYTES]
    said: dict[str, Any]
    try:
        said, _ = _object_at(window.decode("latin-1"))
    except (ValueError, RecursionError):
        said = {name.decode(): int(number) for name, number in reversed(_number_by_name(window))}
    return usage_of(said)


def _told(usage: Usage) -> bool:
    return usage != NOTHING


_TRITON = re.compile(
    # generate: a field; infer: an output tensor, whose first number counts
    rb'"num_(input|output)_tokens"(?:\s{0,8}:|\s{0,8},[^{}]{1,256}?"data"\s{0,8}:[\s\[]{1,8})\s{0,8}(\d{1,16})(?=[\s,}\]])'
)
_TRITON_BYTES = 512
"""More than a match of it has."""


class TritonAnswer(_InBlocks):
    """Reads the counts that Triton's backends tell if asked to (`return_num_input_tokens`, `return_num_output_tokens`).

    Each event of a stream counts its own output tokens (vLLM and TensorRT-LLM backends), so they are added up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[bytes, int] = {}

    def usage(self) -> Usage:
        """Return what the answer said. Called once, at its end."""
        self._search_block(ended=True)
        return Usage(self._told.get(b"input"), self._told.get(b"output"))

    def _search(self, block: bytes, *, ended: bool) -> int:
        counted = 0
        if b'"num_' in block:
            for match in _TRITON.finditer(block):
                which, number = match[1], int(match[2])
                self._told[which] = number + (self._told.get(which, 0) if which == b"output" else 0)
                counted = match.end()
        return max(counted, len(block) - _TRITON_BYTES)
