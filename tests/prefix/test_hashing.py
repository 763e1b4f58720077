"""Block hashes: equal prefixes and only they have equal hashes, however the prompt is cut into parts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.prefix.hashing import BLOCK_BYTES, MAX_BLOCKS, block_hashes

few_letters = st.binary(max_size=6 * BLOCK_BYTES) | st.integers(0, 6 * BLOCK_BYTES).map(
    lambda size: b"a" * size
)


def hashes(text: bytes, seed: bytes = b"m", max_blocks: int = MAX_BLOCKS) -> list[int]:
    """Return the hashes of *text* in one part."""
    return block_hashes(seed, [memoryview(text)], max_blocks)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(0, 0), (1, 0), (BLOCK_BYTES - 1, 0), (BLOCK_BYTES, 1), (BLOCK_BYTES + 1, 1), (3 * BLOCK_BYTES, 3)],
)
def test_only_full_blocks_count(size: int, blocks: int) -> None:
    """A partial block could almost never match; it would only inflate the index."""
    assert len(hashes(b"x" * size)) == blocks


def test_no_parts_have_no_blocks() -> None:
    """A request that was not read has no prefix."""
    assert block_hashes(b"m", []) == []


def test_equal_blocks_at_different_places_differ() -> None:
    """A hash stands for the whole prefix up to its end."""
    assert len(set(hashes(b"a" * BLOCK_BYTES * 5))) == 5


def test_the_seed_separates_models() -> None:
    """Nothing is shared between two seeds, not even by the same text."""
    assert not set(hashes(b"a" * 1024, b"m")) & set(hashes(b"a" * 1024, b"n"))


def test_hashes_are_the_same_in_every_process() -> None:
    """No random seed of the interpreter goes in: two replicas agree."""
    assert hashes(b"a" * BLOCK_BYTES) == [2748400943460799902]


@given(text=few_letters, cuts=st.lists(st.integers(0, 6 * BLOCK_BYTES), max_size=8))
def test_cutting_the_parts_differently_changes_nothing(text: bytes, cuts: list[int]) -> None:
    """Law: the parts are read as one text."""
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    view = memoryview(text)
    parts = [view[start:end] for start, end in itertools.pairwise(borders)]
    assert block_hashes(b"m", parts) == hashes(text)


@given(left=few_letters, right=few_letters)
def test_hashes_are_equal_as_far_as_the_texts_are(left: bytes, right: bytes) -> None:
    """Law: two prompts share exactly the blocks of their common prefix."""
    common = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    one, other = hashes(left), hashes(right)
    shared = common // BLOCK_BYTES
    assert one[:shared] == other[:shared]
    assert not set(one[shared:]) & set(other[shared:])


@given(text=few_letters, more=few_letters, max_blocks=st.integers(0, 8))
def test_at_most_so_many_blocks_are_hashed(text: bytes, more: bytes, max_blocks: int) -> None:
    """Law: the limit takes the front of the prompt, whether it falls inside a part or between two."""
    parts = [memoryview(text), memoryview(more)]
    assert block_hashes(b"m", parts, max_blocks) == hashes(text + more)[:max_blocks]


def test_very_long_prompts_count_as_equal_beyond_the_limit() -> None:
    """Upstream's `maxPrefixTokensToMatch` bounds the work of one request."""
    text = b"a" * (MAX_BLOCKS + 10) * BLOCK_BYTES
    assert len(hashes(text)) == MAX_BLOCKS
