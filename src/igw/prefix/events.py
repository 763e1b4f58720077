"""What engines publish of their KV caches: MessagePack of vLLM and SGLang -> events. Sockets and sequence numbers are in `kvevents`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

Name: TypeAlias = int | bytes
"""What an engine calls a block: a number, signed in SGLang, or the whole hash; only that engine understands it."""

PORT_LABEL, REPLAY_LABEL = "igw.dev/kv-events-port", "igw.dev/kv-events-replay-port"
"""Labels of an endpoint that publishes its events, and sends old ones again, at these ports of its address."""

TIERS = ("gpu", "cpu", "disk", "remote")
"""Where a block may be, the fastest first."""

_TIER_OF = {
    "gpu": 0, "": 0,
    "cpu": 1, "cpu_pinned": 1, "host": 1, "host_pinned": 1, "dram": 1,
    "disk": 2, "fs": 2, "file": 2, "ssd": 2, "nvme": 2, "storage": 2,
}  # fmt: skip
_REMOTE = TIERS.index("remote")

ATTENDING = frozenset({"full_attention", "mla_attention", "sink_full_attention"})
"""Kinds of cache whose blocks hold all that a prefix needs (vLLM `kv_cache_spec_kind`). The others (windows, Mamba states, encoders)
say nothing of whether a prefix can be used again."""


def tier_of(medium: str | None) -> int:
    """Return the index in `TIERS` of what an engine calls a medium; one that is not known is remote."""
    return 0 if medium is None or medium == "GPU" else _TIER_OF.get(medium.lower(), _REMOTE)


class BlockStored(msgspec.Struct, tag_field="type", tag="BlockStored", gc=False):
    """Consecutive blocks that are cached now (vLLM and SGLang `BlockStored`).

    Without tokens it tells that blocks known already have got to another medium.
    """

    block_hashes: list[Name]
    parent_block_hash: Name | None = None
    """Of the block before the first one; None: the prompt's start."""
    token_ids: list[int] = []
    block_size: int = 0
    """Unit: tokens."""
    lora_id: int | str | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    """What else was hashed, per block: adapter, media as [identifier, offset in the block], cache salt; vLLM only."""
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class BlockRemoved(msgspec.Struct, tag_field="type", tag="BlockRemoved", gc=False):
    """Blocks of which one copy is gone from a medium."""

    block_hashes: list[Name]
    medium: str | None = None
    group_idx: int | None = None


class AllBlocksCleared(msgspec.Struct, tag_field="type", tag="AllBlocksCleared", gc=False):
    """The whole cache is empty."""


class _StoredArray(BlockStored, array_like=True, tag="BlockStored"):
    pass


class _RemovedArray(BlockRemoved, array_like=True, tag="BlockRemoved"):
    pass


class _ClearedArray(AllBlocksCleared, array_like=True, tag="AllBlocksCleared"):
    pass


Event: TypeAlias = BlockStored | BlockRemoved | AllBlocksCleared
_Map = BlockStored | BlockRemoved | AllBlocksCleared
_Array = _StoredArray | _RemovedArray | _ClearedArray


class _MapBatch(msgspec.Struct, array_like=True):
    timestamp: float
    events: list[_Map]


class _ArrayBatch(msgspec.Struct, array_like=True):
    timestamp: float
    events: list[_Array]


class _RawBatch(msgspec.Struct, array_like=True):
    timestamp: float
    events: list[msgspec.Raw]


class Batch(msgspec.Struct, frozen=True):
    """What one message tells, in order."""

    timestamp: float
    """The engine's clock, in Unix seconds; it only tells two messages of the same number apart."""
    events: Sequence[Event]
    unreadable: int = 0
    """Events that are of no known form; those beside them count all the same."""


_maps = msgspec.msgpack.Decoder(_MapBatch).decode
_arrays = msgspec.msgpack.Decoder(_ArrayBatch).decode
_raws = msgspec.msgpack.Decoder(_RawBatch).decode
_map: Callable[[msgspec.Raw], Event] = msgspec.msgpack.Decoder(_Map).decode
_array: Callable[[msgspec.Raw], Event] = msgspec.msgpack.Decoder(_Array).decode


def decode(payload: bytes) -> Batch:
    """Return what *payload* tells: `[seconds, [event, ...], rank]`.

    Each event is a map with `type` (vLLM since 0.24, SGLang) or an array that begins with it.

    Raises:
        ValueError: it is no such batch.
    """
    for reader in (_maps, _arrays):
        try:
            batch = reader(payload)
        except msgspec.DecodeError:
            continue
        return Batch(batch.timestamp, batch.events)
    return _one_by_one(payload)


def _one_by_one(payload: bytes) -> Batch:
    try:
        batch = _raws(payload)
    except msgspec.DecodeError as error:
        raise ValueError(f"no batch of KV events: {error}") from None
    events: list[Event] = []
    for raw in batch.events:
        for reader in (_map, _array):
            try:
                events.append(reader(raw))
            except msgspec.DecodeError:
                continue
            break
    return Batch(batch.timestamp, events, len(batch.events) - len(events))
