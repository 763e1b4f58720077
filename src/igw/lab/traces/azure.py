"""Azure's LLM inference traces of 2023: when requests came and how long they were.

Other formats have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.traces.lines import Lines
from igw.lab.workload import Session, Turn

HEADER = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]


class Azure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open loop: every request is a session. No prefixes and no users are known, so no two requests share text.

    The first request comes at 0. An answer or a prompt of no tokens is taken as one token.
    """

    block_tokens: ClassVar[int] = 512
    quantum_seconds: ClassVar[float] = 0.0

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the header."""
        return first.split(",") == HEADER

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield one session a line; ConfigError for times that cannot be read or go back."""
        fresh = blocks.Fresh()
        begin: datetime | None = None
        before = 0.0
        for stamp, prompt, output in lines.cells(HEADER):
            at = _moment(lines, stamp)
            begin = begin or at
            start_seconds = (at - begin).total_seconds()
            if start_seconds < before:
                raise lines.wrong(f"TIMESTAMP {stamp!r} is before the one above", "sort the file by time")
            before = start_seconds
            prompt_tokens = max(1, lines.whole(prompt, "ContextTokens"))
            output_tokens = max(1, lines.whole(output, "GeneratedTokens"))
            runs = fresh.take(blocks.started(prompt_tokens + output_tokens, self.block_tokens))
            yield Session(
                f"request-{lines.number}", (Turn(prompt_tokens, output_tokens, runs),), start_seconds
            )


def _moment(lines: Lines, stamp: str) -> datetime:
    try:
        # Seven digits after the point, of which Python reads six.
        return datetime.fromisoformat(stamp[:26])
    except ValueError as error:
        raise lines.wrong(f"TIMESTAMP is {stamp!r}", "write it like 2023-11-16 18:17:03.9799600") from error
