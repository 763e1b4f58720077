"""Sessions of Claude Code as kv-cache-tester records them: prompts that grow, pauses, and agents that run alongside.

Other formats have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec.structs import replace

from igw.lab import blocks
from igw.lab.traces.conversations import Asked, turns
from igw.lab.traces.lines import Lines
from igw.lab.workload import Runs, Session, Turn

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]

GUESSED_TOKEN_SECONDS = 0.02
"""One output token on the original servers, for the few requests whose pause was not recorded."""


class Entry(msgspec.Struct, frozen=True, rename={"prompt_tokens": "in", "output_tokens": "out"}):
    """One request (`t`, `in`, `out`, `think`, `ids`), or an agent (`t`, `subagent`, `requests`) that runs alongside."""

    t: _Seconds
    prompt_tokens: _Count = 0
    output_tokens: _Count = 0
    think: _Seconds | None = None
    ids: tuple[tuple[_Id, _Count], ...] = ()
    subagent: str = ""
    requests: tuple[Entry, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One line: a session."""

    session: str
    block: int
    tool_tokens: _Count
    system_tokens: _Count
    requests: tuple[Entry, ...]


class ClaudeCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Closed loop: a request is sent `think` seconds after the answer before it. Each session is a tenant.

    The trace numbers blocks per session; here every session gets numbers of its own, except that sessions with the same `tool_tokens` and
    `system_tokens` are taken to begin with the same tools and system prompt (`share_prefixes`). When sessions began is not known:
    one starts every `start_every_seconds`.
    """

    block_tokens: ClassVar[int] = 64
    quantum_seconds: ClassVar[float] = 0.0

    share_prefixes: bool = True
    start_every_seconds: Annotated[float, msgspec.Meta(ge=0)] = 30.0

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the field `tool_tokens`."""
        return first.startswith("{") and '"tool_tokens"' in first

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield one session a line, agents as sessions that their parent's request spawns."""
        ids = _Ids(self.block_tokens)
        for number, row in enumerate(lines.objects(Row)):
            _check(row, self.block_tokens, lines)
            moved = ids.moved(row, share=self.share_prefixes)
            made = _turns(moved, row.session, row.session, ids.fresh)
            yield Session(row.session, made, number * self.start_every_seconds, tenant=row.session)


class _Ids:
    """Ids for the whole file out of ids per session."""

    def __init__(self, block_tokens: int) -> None:
        self.fresh = blocks.Fresh()
        self._block_tokens = block_tokens
        self._next = 0
        self._prefixes: dict[tuple[int, int], int] = {}

    def moved(self, row: Row, *, share: bool) -> tuple[Entry, ...]:
        """Return the requests of *row* with ids that no other session has, but for the prefix that others share."""
        prefix = _prefix(row, self._block_tokens) if share else ()
        length = blocks.size(prefix)
        key = (row.tool_tokens, row.system_tokens)
        if length and key not in self._prefixes:
            self._prefixes[key] = self._next
            self._next += (row.tool_tokens + row.system_tokens) // self._block_tokens
        offset, shared = self._next, self._prefixes.get(key, 0)

        def move(entry: Entry) -> Entry:
            equal = min(blocks.common(entry.ids, prefix), length)
            own = blocks.between(entry.ids, equal, blocks.size(entry.ids))
            runs = blocks.joined(((shared, equal), *blocks.shifted(own, offset)))
            return replace(entry, ids=runs, requests=tuple(move(each) for each in entry.requests))

        entries = tuple(move(entry) for entry in row.requests)
        self._next += 1 + max(
            (first + count for runs in _all_ids(row.requests) for first, count in runs), default=0
        )
        return entries


def _prefix(row: Row, block_tokens: int) -> Runs:
    """Return the full blocks of tools and system prompt; none if no request is as long."""
    length = (row.tool_tokens + row.system_tokens) // block_tokens
    for entry in row.requests:
        if not entry.subagent and blocks.size(entry.ids) >= length:
            return blocks.between(entry.ids, 0, length)
    return ()


def _all_ids(entries: Sequence[Entry]) -> Iterator[Runs]:
    for entry in entries:
        yield entry.ids
        yield from _all_ids(entry.requests)


def _turns(entries: Sequence[Entry], name: str, tenant: str, fresh: blocks.Fresh) -> tuple[Turn, ...]:
    """Return the requests among *entries*; agents start with the last request sent before them, or with the first."""
    requests = [entry for entry in entries if not entry.subagent]
    asked = [
        Asked(each.prompt_tokens, each.output_tokens, each.ids, _think_seconds(before, each))
        for before, each in zip([None, *requests], requests, strict=False)
    ]
    spawns: list[list[Session]] = [[] for _ in requests]
    for agent in entries:
        if agent.subagent:
            parent = max((n for n, each in enumerate(requests) if each.t <= agent.t), default=0)
            title = f"{name}/{agent.subagent}"
            after = max(0.0, agent.t - requests[parent].t)
            inner = _turns(agent.requests, title, tenant, fresh)
            spawns[parent].append(Session(title, inner, after, tenant=tenant))
    made = turns(asked, ClaudeCode.block_tokens, fresh)
    return tuple(replace(turn, spawns=tuple(each)) for turn, each in zip(made, spawns, strict=True))


def _think_seconds(before: Entry | None, entry: Entry) -> float:
    """Return the pause before *entry*; where the trace has none, the gap less a guess of how long the answer took."""
    if entry.think is not None:
        return entry.think
    if before is None:
        return 0.0
    return max(0.0, entry.t - before.t - GUESSED_TOKEN_SECONDS * before.output_tokens)


def _check(row: Row, block_tokens: int, lines: Lines) -> None:
    if row.block != block_tokens:
        raise lines.wrong(f"blocks of {row.block} tokens", f"this format has blocks of {block_tokens}")
    _check_entries(row.requests, block_tokens, lines, "requests")


def _check_entries(entries: Sequence[Entry], block_tokens: int, lines: Lines, where: str) -> None:
    if not any(not entry.subagent for entry in entries):
        raise lines.wrong(f"{where} has no request")
    for number, entry in enumerate(entries):
        place = f"{where}[{number}]"
        if entry.subagent:
            _check_entries(entry.requests, block_tokens, lines, f"{place}.requests")
        elif (count := blocks.size(entry.ids)) > entry.prompt_tokens // block_tokens:
            raise lines.wrong(
                f"{place}: {count} full blocks of {block_tokens} in a prompt of {entry.prompt_tokens} tokens"
            )
