"""Mooncake's traces: requests with arrival times and the hashes of their prompts' blocks (FAST '25).

Other formats have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.traces.lines import Lines
from igw.lab.workload import Session, Turn

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Row(msgspec.Struct, frozen=True):
    """One line: milliseconds from the start, tokens, one id per started block of the prompt; other fields are ignored."""

    timestamp: Annotated[float, msgspec.Meta(ge=0)]
    input_length: Annotated[int, msgspec.Meta(ge=1)]
    output_length: _Count
    hash_ids: list[Annotated[int, msgspec.Meta(ge=0, lt=blocks.FRESH)]]


class Mooncake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open loop: every request is a session. Arrivals were rounded to about 3 s.

    Equal ids mean equal prompts up to the end of that block. The last block of a prompt may be partial and keeps its id; it is found again
    by equal prompts only. What the answer says nobody knows, so its blocks get ids of their own.
    """

    block_tokens: ClassVar[int] = 512
    quantum_seconds: ClassVar[float] = 3.0

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the field `hash_ids`."""
        return first.startswith("{") and '"hash_ids"' in first

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield one session a line; ConfigError for times that go back or ids that do not fit the prompt's length."""
        fresh, before = blocks.Fresh(), 0.0
        for row in lines.objects(Row):
            prompt_blocks = blocks.started(row.input_length, self.block_tokens)
            if len(row.hash_ids) != prompt_blocks:
                raise lines.wrong(
                    f"{len(row.hash_ids)} hash_ids for {row.input_length} tokens",
                    f"{prompt_blocks} are needed, one per started block of {self.block_tokens}",
                )
            if row.timestamp < before:
                raise lines.wrong(
                    f"timestamp {row.timestamp:g} comes after {before:g}", "sort the file by time"
                )
            before = row.timestamp
            output_tokens = max(1, row.output_length)
            total = blocks.started(row.input_length + output_tokens, self.block_tokens)
            runs = blocks.from_ids(row.hash_ids) + fresh.take(total - prompt_blocks)
            turn = Turn(row.input_length, output_tokens, runs)
            yield Session(f"request-{lines.number}", (turn,), row.timestamp / 1000)
