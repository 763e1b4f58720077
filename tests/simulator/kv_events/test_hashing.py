"""Block hashes as vLLM computes them."""

from __future__ import annotations

import hashlib
from array import array

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.kv_events.config import HashAlgorithm
from igw.simulator.kv_events.hashing import BlockHasher, Media, TokenSequence, event_hash

# What vLLM 0.17.0 (`hash_block_tokens`, `maybe_convert_block_hash`) makes of the tokens 101, 202, ... 3232 in blocks of 16
# with PYTHONHASHSEED=0, as loxilb-io/loxilb-inference-gateway recorded it (cicd/common/kv_hash/fixtures).
_VLLM_TOKENS = array("I", range(101, 3233, 101))
_VLLM_NONE_HASH = {
    "sha256_cbor": "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e",
    "xxhash_cbor": "1ebe36576dcb573f26b99533a20aaeca",
}
_VLLM_HASHES = {
    "sha256_cbor": (7876691182959014722, 8769878286166771163),
    "xxhash_cbor": (11066090714971094433, 8162514883595054550),
}

_tokens = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40).map(lambda ids: array("I", ids))


@pytest.mark.parametrize("algorithm", ["sha256_cbor", "xxhash_cbor"])
def test_hashes_are_those_of_vllm(algorithm: HashAlgorithm) -> None:
    """The root for a seed, a first block and the block after it."""
    hasher = BlockHasher(algorithm, "0", 16)
    assert hasher.none_hash.hex() == _VLLM_NONE_HASH[algorithm]
    names = hasher.hashes(_VLLM_TOKENS)
    assert tuple(event_hash(each) for each in names) == _VLLM_HASHES[algorithm]
    assert hasher.digest_bytes == len(_VLLM_NONE_HASH[algorithm]) // 2


def test_a_chain_can_be_computed_again_from_what_is_documented() -> None:
    """SHA-256 of canonical CBOR of (parent, tokens, extra keys), from nothing of ours."""
    tokens = array("I", [7, 70_000, 4_000_000_000, 3] * 3)
    parent, expected = hashlib.sha256(cbor2.dumps("seed", canonical=True)).digest(), []
    for start in (0, 4, 8):
        keys = ("adapter", "salt") if start == 0 else ("adapter",)
        block = cbor2.dumps((parent, tuple(tokens[start : start + 4]), keys), canonical=True)
        parent = hashlib.sha256(block).digest()
        expected.append(int.from_bytes(parent))
    hasher = BlockHasher("sha256_cbor", "seed", 4)
    assert hasher.hashes(tokens, adapter="adapter", salt="salt") == tuple(expected)


@given(_tokens, _tokens, st.integers(1, 5))
def test_equal_hashes_mean_equal_prefixes(left: array[int], right: array[int], size: int) -> None:
    """Two texts share as many names as they share leading full blocks, and only full blocks have one."""
    hasher = BlockHasher("xxhash_cbor", "0", size)
    ours, theirs = hasher.hashes(left), hasher.hashes(right)
    assert len(ours) == len(left) // size
    for block, (mine, other) in enumerate(zip(ours, theirs, strict=False), 1):
        assert (mine == other) == (left[: block * size] == right[: block * size])


def test_seed_adapter_salt_and_media_all_change_the_first_block() -> None:
    """Nobody finds blocks that somebody else computed under other conditions."""
    tokens = array("I", range(8))
    media = (Media("cat", 0, 2),)
    hasher = BlockHasher("sha256_cbor", "0", 4)
    names = {
        hasher.hashes(tokens)[0],
        hasher.hashes(tokens, adapter="a")[0],
        hasher.hashes(tokens, salt="a!")[0],
        hasher.hashes(tokens, media=media)[0],
        BlockHasher("sha256_cbor", "1", 4).hashes(tokens)[0],
    }
    assert len(names) == 5


def test_extra_keys_are_in_the_order_of_vllm_and_each_block_has_its_own() -> None:
    """Adapter, media with their place relative to the block, salt in the first block only."""
    sequence = TokenSequence(
        "s",
        12,
        1,
        adapter="lora",
        tokens=array("I", range(13)),
        cache_salt="salt",
        media=(Media("cat", 2, 5), Media("dog", 7, 1)),
    )
    keys = [sequence.extra_keys(first, first + 4) for first in (0, 4, 8)]
    assert keys == [("lora", ("cat", 2), "salt"), ("lora", ("cat", -2), ("dog", 3)), ("lora",)]


def test_a_plain_prompt_has_no_extra_keys() -> None:
    """Nothing rather than an empty tuple, which would hash differently; an empty salt is none."""
    plain = TokenSequence("s", 4, 1, tokens=array("I", range(5)), cache_salt="")
    assert plain.extra_keys(0, 4) is None
    late = TokenSequence("s", 8, 1, tokens=array("I", range(9)), cache_salt="x", media=(Media("m", 0, 1),))
    assert late.extra_keys(4, 8) is None
