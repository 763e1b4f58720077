"""What servers and pickers see of a turn agrees with the ids of its blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.lab.content import block_hashes, prompt
from igw.lab.workload import Turn
from igw.prefix.hashing import block_hashes as picker_hashes


def turn(prompt_tokens: int, output_tokens: int, *runs: tuple[int, int]) -> Turn:
    """Return a turn with these blocks."""
    return Turn(prompt_tokens, output_tokens, runs)


def test_large_blocks_are_cut_for_the_engine() -> None:
    """Each id becomes as many numbers as engine blocks fit, and only full ones are named."""
    asked = turn(600, 100, (7, 1), (40, 1))  # 700 tokens: a full block of 512 and a part
    hashes = block_hashes(asked, 512, 64)
    assert hashes == (*range(56, 64), 320, 321)


def test_small_blocks_are_grouped_for_the_engine() -> None:
    """The last id of a group stands for it, because it implies the ones before."""
    asked = turn(100, 60, (3, 9), (90, 1))  # 160 tokens: ten blocks of 16, two and a half of 64
    assert block_hashes(asked, 16, 64) == (6, 10)
    assert block_hashes(asked, 16, 16) == (*range(3, 12), 90)


@given(
    shared=st.integers(0, 40),
    own=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    sizes=st.sampled_from([(512, 16), (64, 64), (16, 64), (16, 16), (64, 32)]),
)
def test_turns_share_exactly_what_their_blocks_share(
    shared: int, own: tuple[int, int], sizes: tuple[int, int]
) -> None:
    """As hashes, as far as engine blocks are covered by shared ones."""
    trace, engine = sizes
    turns = [
        turn((shared + count) * trace, 0, *([(0, shared)] if shared else []), (1000 * (number + 1), count))
        for number, count in enumerate(own)
    ]
    one, other = (block_hashes(each, trace, engine) for each in turns)
    assert len(one) == turns[0].prompt_tokens // engine
    equal = shared * trace // engine
    assert one[:equal] == other[:equal]
    assert not set(one[equal:]) & set(other[equal:])


def test_block_sizes_must_fit_each_other() -> None:
    """The error names both."""
    with pytest.raises(ValueError, match="blocks of 64 tokens in the trace and of 48 in the engine"):
        block_hashes(turn(64, 1, (0, 2)), 64, 48)


def test_a_prompt_has_four_bytes_a_token() -> None:
    """Of its own length, not of its blocks'."""
    (part,) = prompt(turn(70, 200, (5, 5)), 64)
    assert part.nbytes == 280
    assert part.readonly
    assert bytes(part) == (5).to_bytes(8, "little") * 32 + (6).to_bytes(8, "little") * 3


def test_no_tokens_are_no_bytes() -> None:
    """An empty prompt has no parts."""
    assert prompt(turn(0, 1, (0, 1)), 64) == []


def test_odd_blocks_are_refused() -> None:
    """An id is written as two tokens."""
    with pytest.raises(ValueError, match="even number"):
        prompt(turn(10, 1, (0, 1)), 15)


def test_the_picker_finds_what_the_blocks_share() -> None:
    """Its hashes are equal as far as the ids are, and differ from there on."""
    one = prompt(turn(4096, 0, (0, 4), (100, 4)), 512)
    other = prompt(turn(4096, 0, (0, 4), (200, 4)), 512)
    pairs = list(zip(picker_hashes(b"", one), picker_hashes(b"", other), strict=True))
    assert len(pairs) == 64
    assert [a == b for a, b in pairs] == [True] * 32 + [False] * 32


def test_a_longer_prompt_begins_with_a_shorter_one() -> None:
    """Also where the shorter one ends within a block."""
    (short,), (long,) = prompt(turn(70, 0, (5, 5)), 64), prompt(turn(300, 0, (5, 5)), 64)
    assert bytes(long).startswith(bytes(short))
