"""Keys as upstream's indexer computes them: by published vectors of its parts, and bytes written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from igw.prefix.chain import Placed, Prompt, packed
from igw.remotecaches.upstream_keys import Hashing, _fnv


@pytest.mark.parametrize(
    ("text", "digest"),
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_fnv_is_the_published_one(text: bytes, digest: int) -> None:
    """FNV-1a, 64 bits: test vectors of its authors."""
    assert _fnv(text) == digest


def test_a_key_covers_parent_and_tokens_in_canonical_cbor() -> None:
    """Written by hand: an array of three, an unsigned number of 64 bits, numbers as short as they go, null for nothing."""
    seed = _fnv(b"")
    model = _fnv(b"\x83\x1b" + seed.to_bytes(8, "big") + b"\xf6" + b"\x64gpt2")
    tokens = b"\x84\x01\x18\x18\x19\x01\x00\x1a\x00\x01\x00\x00"
    first = _fnv(b"\x83\x1b" + model.to_bytes(8, "big") + tokens + b"\xf6")
    assert list(Hashing(4).keys(Prompt(packed([1, 24, 256, 65536, 9])), "gpt2")) == [first]


def test_xxh64_covers_parent_and_tokens_little_endian() -> None:
    """The model's name behind its length."""
    root = xxh64_intdigest(xxh64_intdigest(b"s").to_bytes(8, "little") + b"\x02\0\0\0\0\0\0\0m1")
    first = xxh64_intdigest(root.to_bytes(8, "little") + b"\x01\0\0\0\x00\x01\0\0")
    assert list(Hashing(2, "s", "xxh64").keys(Prompt(packed([1, 256])), "m1")) == [first]


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.sampled_from(["cbor-fnv", "xxh64"]),
)
def test_prompts_share_keys_as_far_as_they_share_blocks(one: list[int], other: list[int], how: Any) -> None:
    """Full blocks only."""
    hashing = Hashing(4, "", how)
    first = list(hashing.keys(Prompt(packed(one)), "m"))
    both = list(hashing.keys(Prompt(packed([*one, *other])), "m"))
    assert len(first) == len(one) // 4
    assert both[: len(first)] == first
    assert not set(first) & set(hashing.keys(Prompt(packed(one)), "another"))


def test_prompts_with_salt_or_media_have_no_keys() -> None:
    """Theirs are not in yet."""
    assert not list(Hashing(1).keys(Prompt(packed([1]), salt="s"), "m"))
    assert not list(Hashing(1).keys(Prompt(packed([1]), media=(Placed("cat", 0, 1),)), "m"))
