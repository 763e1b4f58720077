"""KV events as bytes, held against what real engines sent."""

from array import array
from pathlib import Path
from typing import Any

import msgspec
import pytest

from igw.simulator.engine.events import Cleared, KvEvent, Removed, Stored
from igw.simulator.engine.sequence import Sequence
from igw.simulator.kv_events.hashing import TokenSequence
from igw.simulator.kv_events.messages import BatchEncoder

_FRAMES = (Path(__file__).parent / "data" / "vllm-0.32.0-kv-frames.hex").read_text().splitlines()


def _decoded(payload: bytes) -> Any:
    return msgspec.msgpack.decode(payload)


def _engine_event(fields: dict[str, Any]) -> KvEvent:
    """Return what our engine would have said for the same thing to be published."""
    if fields["type"] == "BlockRemoved":
        return Removed(tuple(fields["block_hashes"]), fields["medium"])
    parent, size = fields["parent_block_hash"], fields["block_size"]
    before = () if parent is None else (parent,)
    sequence = TokenSequence(
        "s",
        1,
        1,
        block_hashes=before + tuple(fields["block_hashes"]),
        adapter=fields["lora_name"],
        lora_id=fields["lora_id"],
        tokens=array("I", [0] * size * len(before) + fields["token_ids"]),
    )
    return Stored(sequence, len(before), tuple(fields["block_hashes"]), fields["medium"])


@pytest.mark.parametrize("frame", _FRAMES)
def test_a_batch_has_the_very_bytes_of_vllm(frame: str) -> None:
    """Stored with and without parent and adapter, several at once, removed: same keys, types and order."""
    payload = bytes.fromhex(frame.split()[2])
    timestamp, events, rank = _decoded(payload)
    encoder = BatchEncoder(32, rank=rank)
    assert encoder.encode([_engine_event(each) for each in events], timestamp) == payload


def test_a_cleared_cache_has_the_bytes_of_vllm() -> None:
    """The start of the message recorded around a reset, where vLLM said it twice."""
    recorded = bytes.fromhex("93cb41dac09224b127de9281a474797065b0416c6c426c6f")
    timestamp = msgspec.msgpack.decode(recorded[1:10])
    payload = BatchEncoder(32).encode([Cleared(), Cleared()], timestamp)
    assert len(payload) == 58
    assert payload.startswith(recorded)


def _sequence(**more: Any) -> TokenSequence:
    names = (1 << 200 | 11, 1 << 200 | 1 << 63 | 12, 13)
    return TokenSequence("s", 5, 2, block_hashes=names, tokens=array("I", range(7)), **more)


def test_older_vllm_sent_arrays_that_begin_with_the_kind() -> None:
    """The same values in the same order, without their names."""
    sequence = _sequence(adapter="lora", lora_id=2, cache_salt="salt")
    events: list[KvEvent] = [
        Stored(sequence, 0, sequence.block_hashes[:2], "GPU"),
        Removed((1, 2), "GPU"),
        Cleared(),
    ]
    payload = BatchEncoder(2, encoding="array", rank=3).encode(events, 1.5)
    keys = [["lora", "salt"], ["lora"]]
    assert _decoded(payload) == [
        1.5,
        [
            [
                "BlockStored",
                [11, 1 << 63 | 12],
                None,
                [0, 1, 2, 3],
                2,
                2,
                "GPU",
                "lora",
                keys,
                0,
                "full_attention",
            ],
            ["BlockRemoved", [1], "GPU", 0],
            ["BlockRemoved", [2], "GPU", 0],
            ["AllBlocksCleared"],
        ],
        3,
    ]


def test_sglang_sends_fewer_fields_and_signed_hashes() -> None:
    """As recorded from SGLang 0.5.23."""
    sequence = _sequence()
    events: list[KvEvent] = [
        Stored(sequence, 1, sequence.block_hashes[1:2], "GPU"),
        Removed((1 << 63,), "GPU"),
        Cleared(),
    ]
    payload = BatchEncoder(2, encoding="sglang").encode(events, 1.5)
    stored, removed, cleared = _decoded(payload)[1]
    assert list(stored.items()) == [
        ("type", "BlockStored"),
        ("block_hashes", [12 - (1 << 63)]),
        ("parent_block_hash", 11),
        ("token_ids", [2, 3]),
        ("block_size", 2),
        ("lora_id", None),
        ("medium", "GPU"),
    ]
    assert list(removed.items()) == [
        ("type", "BlockRemoved"),
        ("block_hashes", [-(1 << 63)]),
        ("medium", "GPU"),
    ]
    assert cleared == {"type": "AllBlocksCleared"}


def test_hashes_can_be_whole_byte_strings() -> None:
    """What vLLM sends with VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0."""
    sequence = _sequence()
    payload = BatchEncoder(2, hash_bytes=32).encode([Stored(sequence, 1, (13,), "GPU")], 1.5)
    [stored] = _decoded(payload)[1]
    assert stored["block_hashes"] == [(13).to_bytes(32)]
    assert stored["parent_block_hash"] == (1 << 200 | 11).to_bytes(32)


def test_blocks_that_fall_to_the_cpu_are_told_without_tokens() -> None:
    """Offloading in vLLM says which blocks moved and nothing else."""
    payload = BatchEncoder(2).encode([Stored(None, 0, (5, 6), "CPU"), Removed((5,), "CPU")], 1.5)
    stored, removed = _decoded(payload)[1]
    assert stored == {
        "type": "BlockStored",
        "block_hashes": [5, 6],
        "parent_block_hash": None,
        "token_ids": [],
        "block_size": 0,
        "lora_id": None,
        "medium": "CPU",
        "lora_name": None,
        "group_idx": 0,
    }
    assert removed == {"type": "BlockRemoved", "block_hashes": [5], "medium": "CPU", "group_idx": 0}


def test_a_sequence_without_tokens_is_a_mistake() -> None:
    """Its events could not be told, and an empty list would be believed."""
    with pytest.raises(TypeError, match="cannot be told of"):
        BatchEncoder(2).encode([Stored(Sequence("s", 4, 1), 0, (1,), "GPU")], 1.5)
