"""Token counts in the answers of `vllm.grpc.engine.VllmEngine`, read in passing. Requests are `parsing.vllm_grpc`'s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from igw.parsing.grpc_frames import PREFIX_BYTES, Messages
from igw.parsing.usage import Usage
from igw.parsing.wire_format import Malformed, fields

KEPT_BYTES = 1 << 20
"""Of one message of an answer: its counts stand behind its tokens, of which this holds 250,000 at least, and before the rest."""

_CHUNK = b"\x0a"
"""The tag of field 1, with which the messages begin that bring a piece of an answer and not its end."""


class GenerateAnswer:
    """The counts of a GenerateResponse with `complete` (field 2): 3 prompt_tokens, 4 completion_tokens, 5 cached_tokens.

    There is one for each choice of an answer, whose tokens are added up; the prompt is the same for all.
    """

    def __init__(self) -> None:
        self._messages = Messages(KEPT_BYTES)
        self._usage = Usage()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer's body."""
        # Most pieces of a stream: a token, in a message of its own.
        if piece[PREFIX_BYTES : PREFIX_BYTES + 1] == _CHUNK and self._messages.one_whole(piece):
            return
        for message in self._messages.feed(piece):
            if message[:1] == _CHUNK:
                continue
            for number, value in _whole_fields(message):
                if number == 2 and not isinstance(value, int):
                    self._add(value)

    def _add(self, complete: memoryview) -> None:
        counts = {number: value for number, value in _whole_fields(complete) if isinstance(value, int)}
        if 3 not in counts:  # what is 0 is left out, but no prompt is empty: they lie beyond what is kept
            return
        self._usage = Usage(
            prompt_tokens=counts[3],
            completion_tokens=(self._usage.completion_tokens or 0) + counts.get(4, 0),
            cached_tokens=max(self._usage.cached_tokens or 0, counts.get(5, 0)),
        )

    def usage(self) -> Usage:
        """Return what was counted up to now."""
        return self._usage


class EmbedAnswer:
    """The counts of an EmbedResponse: 2 prompt_tokens."""

    def __init__(self) -> None:
        self._messages = Messages(KEPT_BYTES)
        self._usage = Usage()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer's body."""
        for message in self._messages.feed(piece):
            for number, value in _whole_fields(message):
                if number == 2 and isinstance(value, int):
                    self._usage = Usage(prompt_tokens=value)

    def usage(self) -> Usage:
        """Return what was counted up to now."""
        return self._usage


def _whole_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of *message* as far as there are any: an answer may be anything, and only its beginning is kept."""
    with suppress(Malformed):
        yield from fields(message, cut=True)
