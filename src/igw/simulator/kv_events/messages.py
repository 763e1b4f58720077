"""The engine's KV events as the MessagePack that vLLM and SGLang publish. Pure; sending is in `publisher`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from igw.simulator.engine.events import Cleared, KvEvent, Removed, Stored
from igw.simulator.kv_events.config import Encoding
from igw.simulator.kv_events.hashing import TokenSequence, event_hash

_GROUP = 0
_SPEC_KIND = "full_attention"
_SIGN_BIT = 1 << 63
_SGLANG_FIELDS = {"BlockStored": 7, "BlockRemoved": 3, "AllBlocksCleared": 1}


class BatchEncoder:
    """Turns what one step did to the cache into one payload: `[seconds, [event, ...], rank]`.

    With `hash_bytes` hashes are byte strings of that length, else numbers.
    """

    def __init__(
        self, block_size: int, *, encoding: Encoding = "map", hash_bytes: int | None = None, rank: int = 0
    ) -> None:
        self._block_size = block_size
        self._encoding = encoding
        self._hash_bytes = hash_bytes
        self._rank = rank
        self._packer = msgspec.msgpack.Encoder()

    def encode(self, events: Iterable[KvEvent], timestamp: float) -> bytes:
        """Return the payload; `timestamp` is Unix time in seconds. TypeError for a sequence without tokens."""
        shown = [self._shown(fields) for event in events for fields in self._fields(event)]
        return self._packer.encode([timestamp, shown, self._rank])

    def _fields(self, event: KvEvent) -> list[dict[str, Any]]:
        """Return the fields in wire order, the tag first; None stands for vLLM's default and is left out."""
        if isinstance(event, Cleared):
            return [{"type": "AllBlocksCleared"}]
        if isinstance(event, Removed):
            # vLLM sends an event per block.
            return [
                {
                    "type": "BlockRemoved",
                    "block_hashes": [self._hash(name)],
                    "medium": event.medium,
                    "group_idx": _GROUP,
                }
                for name in event.hashes
            ]
        return [self._offloaded(event) if event.sequence is None else self._stored(event)]

    def _stored(self, event: Stored) -> dict[str, Any]:
        sequence, size, first = event.sequence, self._block_size, event.first_block
        if not isinstance(sequence, TokenSequence):
            raise TypeError(f"a sequence without tokens cannot be told of: {sequence!r}")
        blocks = range(first, first + len(event.hashes))
        return {
            "type": "BlockStored",
            "block_hashes": [self._hash(name) for name in event.hashes],
            "parent_block_hash": self._hash(sequence.block_hashes[first - 1]) if first else None,
            "token_ids": sequence.tokens[first * size : blocks.stop * size].tolist(),
            "block_size": size,
            "lora_id": sequence.lora_id,
            "medium": event.medium,
            "lora_name": sequence.adapter,
            "extra_keys": [sequence.extra_keys(each * size, (each + 1) * size) for each in blocks],
            "group_idx": _GROUP,
            "kv_cache_spec_kind": _SPEC_KIND,
        }

    def _offloaded(self, event: Stored) -> dict[str, Any]:
        # vLLM's offloading does not tell the tokens again: a block's own hash says which one moved.
        return {
            "type": "BlockStored",
            "block_hashes": [self._hash(name) for name in event.hashes],
            "parent_block_hash": None,
            "token_ids": [],
            "block_size": 0,
            "lora_id": None,
            "medium": event.medium,
            "lora_name": None,
            "extra_keys": None,
            "group_idx": _GROUP,
        }

    def _hash(self, name: int) -> int | bytes:
        if self._hash_bytes is not None:
            return name.to_bytes(self._hash_bytes)
        number = event_hash(name)
        return number - (number & _SIGN_BIT) * 2 if self._encoding == "sglang" else number

    def _shown(self, fields: dict[str, Any]) -> dict[str, Any] | list[Any]:
        if self._encoding == "sglang":
            return dict(list(fields.items())[: _SGLANG_FIELDS[fields["type"]]])
        if self._encoding == "array":
            return list(fields.values())
        if fields.get("extra_keys", ()) is None:
            del fields["extra_keys"]
        return fields
