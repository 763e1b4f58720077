"""Block hashes: equal prefixes and only they have equal hashes, however the prompt is cut into parts."""

from __future__ import annotations

import itertools
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.prefix.hashing import BLOCK_BYTES, MAX_BLOCKS, TOKENS, block_hashes, depth_at, tokens_at

KIB = 1024
FIRST = BLOCK_BYTES[0]
BORDERS = list(itertools.accumulate(BLOCK_BYTES))

sizes = st.integers(0, 6 * FIRST) | st.sampled_from(
    [border + more for border in BORDERS for more in (-1, 0, 1)]
)
few_letters = st.builds(lambda size, tail: b"a" * size + tail, sizes, st.binary(max_size=6 * FIRST))


def hashes(text: bytes, seed: bytes = b"m") -> list[int]:
    """Return the hashes of *text* in one part."""
    return block_hashes(seed, [memoryview(text)])


def full_blocks(size: int) -> int:
    """Return how many blocks *size* bytes fill."""
    return sum(border <= size for border in BORDERS)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (0, 0),
        (1, 0),
        (255, 0),
        (256, 1),
        (257, 1),
        (16 * KIB, 64),
        (17 * KIB - 1, 64),
        (17 * KIB, 65),
        (128 * KIB, 176),
        (132 * KIB - 1, 176),
        (132 * KIB, 177),
        (512 * KIB, MAX_BLOCKS),
        (520 * KIB, MAX_BLOCKS),
    ],
)
def test_only_full_blocks_count(size: int, blocks: int) -> None:
    """A partial block could almost never match; it would only inflate the index. Blocks grow with depth."""
    assert len(hashes(b"x" * size)) == blocks


def test_tokens_are_told_by_depth() -> None:
    """Four bytes each, up to upstream's limit; the table cannot be written to."""
    assert [tokens_at(depth) for depth in (0, 1, 64, 65, 176, 177)] == [0, 64, 4096, 4352, 32768, 33792]
    assert tokens_at(MAX_BLOCKS) == 131_072
    assert TOKENS.tolist() == [tokens_at(depth) for depth in range(MAX_BLOCKS + 1)]
    assert not TOKENS.flags.writeable


@given(depth=st.integers(0, MAX_BLOCKS), data=st.data())
def test_depth_is_told_by_tokens(depth: int, data: st.DataObject) -> None:
    """Law: the inverse of the above; tokens that fill no further block do not count."""
    top = tokens_at(depth + 1) - 1 if depth < MAX_BLOCKS else 10**9
    assert depth_at(tokens_at(depth)) == depth_at(data.draw(st.integers(tokens_at(depth), top))) == depth


def test_a_match_of_whole_blocks_is_close_to_the_true_one() -> None:
    """What lies behind the last border is lost: of more than 4 KiB, a sixteenth at most."""
    for matched, next_block in zip(BORDERS, BLOCK_BYTES[1:], strict=False):
        if matched >= 4 * KIB:
            assert next_block / matched <= 1 / 16


def test_no_parts_have_no_blocks() -> None:
    """A request that was not read has no prefix."""
    assert block_hashes(b"m", []) == []


def test_equal_blocks_at_different_places_differ() -> None:
    """A hash stands for the whole prefix up to its end."""
    assert len(set(hashes(b"a" * 512 * KIB))) == MAX_BLOCKS


def test_the_seed_separates_models() -> None:
    """Nothing is shared between two seeds, not even by the same text."""
    assert not set(hashes(b"a" * 1024, b"m")) & set(hashes(b"a" * 1024, b"n"))


def test_hashes_are_the_same_in_every_process() -> None:
    """No random seed of the interpreter goes in: two replicas agree."""
    assert hashes(b"a" * FIRST) == [2748400943460799902]


@given(text=few_letters, cuts=st.lists(sizes, max_size=8))
def test_cutting_the_parts_differently_changes_nothing(text: bytes, cuts: list[int]) -> None:
    """Law: the parts are read as one text."""
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    view = memoryview(text)
    parts = [view[start:end] for start, end in itertools.pairwise(borders)]
    assert block_hashes(b"m", parts) == hashes(text)


@given(left=few_letters, right=few_letters)
def test_hashes_are_equal_as_far_as_the_texts_are(left: bytes, right: bytes) -> None:
    """Law: two prompts share exactly the blocks of their common prefix."""
    one, other = hashes(left), hashes(right)
    shortest = min(len(left), len(right))
    shared = full_blocks(bisect_left(range(1, shortest + 1), True, key=lambda n: left[:n] != right[:n]))
    assert one[:shared] == other[:shared]
    assert not set(one[shared:]) & set(other[shared:])


@pytest.mark.parametrize(
    "parts", [(520 * KIB,), (512 * KIB, 8 * KIB), (510 * KIB, 10 * KIB), (512 * KIB, 0, 1)]
)
def test_very_long_prompts_count_as_equal_beyond_the_limit(parts: tuple[int, ...]) -> None:
    """Upstream's `maxPrefixTokensToMatch` bounds the work of one request, whether it falls inside a part or between two."""
    many = block_hashes(b"m", [memoryview(b"a" * size) for size in parts])
    assert many == hashes(b"a" * 512 * KIB)
