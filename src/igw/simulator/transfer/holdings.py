"""Prompts that a prefill server keeps in memory until another server has fetched them: which, for whom, until when.

No I/O and no clock; freeing the memory itself is the engine's part.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from igw.simulator.transfer.params import flat


class Held(msgspec.Struct, frozen=True):
    """One prompt that waits; `until` is on the caller's clock, `digest` tells the prompt from any other."""

    sequence_id: str
    block_ids: tuple[int, ...]
    tokens: int
    digest: str
    until: float


class NotHeldError(Exception):
    """What was asked for is not here; the sentence says why."""


class Holdings:
    """What one engine holds, by the ids that its answers told.

    The engine counts blocks and does not number them, so numbers are handed out here, in turn.
    """

    def __init__(self, engine_id: str, blocks: int, timeout_seconds: float) -> None:
        self.engine_id = engine_id
        self._blocks = blocks
        self._timeout_seconds = timeout_seconds
        self._held: dict[str, Held] = {}  # all wait equally long, so the first is the first to expire
        self._next_block = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def next_expiry(self) -> float | None:
        """When the next prompt has waited long enough; None when nothing is held."""
        return next((held.until for held in self._held.values()), None)

    def number(self, blocks: int) -> tuple[int, ...]:
        """Return ids for so many blocks."""
        first, self._next_block = self._next_block, self._next_block + blocks
        return tuple(each % self._blocks for each in range(first, first + blocks))

    def hold(self, request_id: str, held: tuple[str, tuple[int, ...], int, str], now: float) -> None:
        """Remember `held` (sequence id, block ids, tokens, digest of the prompt) under `request_id`."""
        self._held[request_id] = Held(*held, until=now + self._timeout_seconds)

    def read(self, engine_id: str, request_id: str, block_ids: Sequence[int | list[int]]) -> Held:
        """Return what is held there; NotHeldError unless engine, request and blocks are the ones that were told."""
        if engine_id != self.engine_id:
            raise NotHeldError(f"this is engine {self.engine_id!r}, not {engine_id!r}")
        held = self._held.get(request_id)
        if held is None:
            raise NotHeldError(
                f"nothing is held for request {request_id!r}: it was never computed here, fetched, or has expired"
            )
        if (asked := flat(block_ids)) != held.block_ids:
            raise NotHeldError(
                f"request {request_id!r} has {len(held.block_ids)} blocks starting at {held.block_ids[0]}, "
                f"not the {len(asked)} asked for"
            )
        return held

    def release(self, request_id: str) -> str | None:
        """Forget a prompt and return its sequence's id; None when it is not held (any more)."""
        held = self._held.pop(request_id, None)
        return None if held is None else held.sequence_id

    def expire(self, now: float) -> list[str]:
        """Forget what has waited too long; return the ids of those sequences."""
        over = [request_id for request_id, held in self._held.items() if held.until <= now]
        return [self._held.pop(request_id).sequence_id for request_id in over]

    def clear(self) -> None:
        """Forget everything, as a restart does."""
        self._held.clear()
