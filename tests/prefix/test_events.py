"""Decoding of KV events: frames of a real engine, both encodings, events of no known form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from igw.prefix.events import AllBlocksCleared, BlockRemoved, BlockStored, decode, tier_of

FRAMES = [
    bytes.fromhex(line.split()[2])
    for line in (Path(__file__).parent / "data" / "vllm-0.32.0-kv-frames.hex").read_text().splitlines()
]


def packed(*events: Any) -> bytes:
    """Return a batch of *events* as an engine sends it."""
    return msgspec.msgpack.encode([1.5, list(events), 0])


def test_frames_of_a_real_engine_are_understood() -> None:
    """The first stores six blocks of 32 tokens from the prompt's start, the third does it for an adapter; later ones remove."""
    batches = [decode(frame) for frame in FRAMES]
    first, third = batches[0].events[0], batches[2].events[0]
    assert isinstance(first, BlockStored)
    assert (len(first.block_hashes), first.parent_block_hash, first.block_size, len(first.token_ids)) == (
        6,
        None,
        32,
        192,
    )
    assert isinstance(third, BlockStored)
    assert (third.lora_name, third.extra_keys) == ("lora-a", [["lora-a"]] * 6)
    kinds = {type(event) for batch in batches for event in batch.events}
    assert kinds == {BlockStored, BlockRemoved}
    assert sum(batch.unreadable for batch in batches) == 0


def test_arrays_of_older_engines_say_the_same_as_maps() -> None:
    """The older vLLM, up to 0.23 sends the tag first, then the fields in order; trailing ones may be missing."""
    as_array = decode(packed(["BlockStored", [1, 2], None, [5, 6], 1, None, "GPU"], ["AllBlocksCleared"]))
    as_map = decode(
        packed(
            {
                "type": "BlockStored",
                "block_hashes": [1, 2],
                "token_ids": [5, 6],
                "block_size": 1,
                "medium": "GPU",
            },
            {"type": "AllBlocksCleared"},
        )
    )
    for batch in (as_array, as_map):
        stored, cleared = batch.events
        assert isinstance(stored, BlockStored)
        assert (stored.block_hashes, stored.token_ids, stored.block_size, stored.medium) == (
            [1, 2],
            [5, 6],
            1,
            "GPU",
        )
        assert isinstance(cleared, AllBlocksCleared)


def test_names_may_be_signed_unsigned_or_bytes() -> None:
    """SGLang has signed numbers, vLLM unsigned ones or whole hashes."""
    batch = decode(packed({"type": "BlockRemoved", "block_hashes": [-(2**63), 2**64 - 1, b"\x01" * 32]}))
    (removed,) = batch.events
    assert isinstance(removed, BlockRemoved)
    assert removed.block_hashes == [-(2**63), 2**64 - 1, b"\x01" * 32]


def test_an_event_of_no_known_form_costs_no_other() -> None:
    """What an engine of tomorrow adds is counted and left out."""
    batch = decode(
        packed(
            {"type": "BlockWarmed", "block_hashes": [1]},
            {"type": "BlockRemoved", "block_hashes": [1]},
            ["BlockRemoved", [2]],
            7,
        )
    )
    assert [event.block_hashes for event in batch.events if isinstance(event, BlockRemoved)] == [[1], [2]]
    assert batch.unreadable == 2


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x93", msgspec.msgpack.encode({"a": 1}), b"\x92\x01\x02"]
)
def test_what_is_no_batch_is_said_to_be_none(payload: bytes) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match="no batch of KV events"):
        decode(payload)


@pytest.mark.parametrize(
    ("medium", "tier"),
    [
        (None, 0),
        ("GPU", 0),
        ("gpu", 0),
        ("CPU", 1),
        ("CPU_PINNED", 1),
        ("DISK", 2),
        ("fs", 2),
        ("EXTERNAL", 3),
    ],
)
def test_media_are_tiers(medium: str | None, tier: int) -> None:
    """What is not known is remote."""
    assert tier_of(medium) == tier
