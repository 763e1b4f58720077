"""Sessions of coding and multi-agent frameworks (LMCache's agent traces), whose prompts are found again between sessions.

Other formats have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.traces.conversations import Asked, turns
from igw.lab.traces.lines import Lines
from igw.lab.workload import Session

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Id = Annotated[int, msgspec.Meta(ge=0, lt=blocks.FRESH)]


class Entry(msgspec.Struct, frozen=True, rename={"prompt_tokens": "in", "output_tokens": "out"}):
    """One request: seconds from the session's start, tokens, ids of the full blocks of its prompt."""

    t: _Seconds
    prompt_tokens: _Count
    output_tokens: _Count
    ids: tuple[tuple[_Id, _Count], ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One line: a session of the agent *kind*."""

    session: str
    kind: str
    block: int
    requests: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1)]


class AgentSessions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Closed loop. The kind of agent is the tenant; one session starts every `start_every_seconds`.

    The trace says when requests were sent but not when they were answered. Think time is the gap to the request before, less what its answer
    is guessed to have taken on the original server: `answer_seconds`, and `token_seconds` for each token of it, at least 0. The defaults
    are about the fastest hundredth of the published trace's own gaps.
    """

    block_tokens: ClassVar[int] = 16
    quantum_seconds: ClassVar[float] = 0.0

    start_every_seconds: _Seconds = 10.0
    answer_seconds: _Seconds = 0.5
    token_seconds: _Seconds = 0.006

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the fields `kind` and `block`, without `tool_tokens`."""
        return (
            first.startswith("{")
            and '"kind"' in first
            and '"block"' in first
            and '"tool_tokens"' not in first
        )

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield one session a line; ConfigError for times that go back or more blocks than a prompt has."""
        fresh = blocks.Fresh()
        for number, row in enumerate(lines.objects(Row)):
            if row.block != self.block_tokens:
                raise lines.wrong(
                    f"blocks of {row.block} tokens", f"this format has blocks of {self.block_tokens}"
                )
            for at, entry in enumerate(row.requests):
                if blocks.size(entry.ids) > entry.prompt_tokens // self.block_tokens:
                    raise lines.wrong(
                        f"requests[{at}]: {blocks.size(entry.ids)} full blocks of {self.block_tokens} in a prompt of "
                        f"{entry.prompt_tokens} tokens"
                    )
            asked = [
                Asked(entry.prompt_tokens, entry.output_tokens, entry.ids, think)
                for entry, think in zip(row.requests, self._think(row, lines), strict=True)
            ]
            made = tuple(turns(asked, self.block_tokens, fresh))
            yield Session(row.session, made, number * self.start_every_seconds, tenant=row.kind)

    def _think(self, row: Row, lines: Lines) -> Iterator[float]:
        yield 0.0
        for at, (before, after) in enumerate(pairwise(row.requests), 1):
            gap = after.t - before.t
            if gap < 0:
                raise lines.wrong(f"requests[{at}]: t {after.t:g} comes after {before.t:g}", "sort them by t")
            yield max(0.0, gap - self.answer_seconds - self.token_seconds * before.output_tokens)
