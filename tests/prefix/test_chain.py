"""Keys of blocks of tokens: equal prefixes have equal keys, and nothing else has."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.prefix.chain import Placed, Prompt, adapted, extended, keys, packed, root

TOKENS = st.lists(st.integers(0, 2**32 - 1), max_size=40)


@given(TOKENS, TOKENS, st.integers(1, 8))
def test_keys_agree_exactly_as_far_as_the_tokens_do(one: list[int], other: list[int], size: int) -> None:
    """Law: the number of equal keys is the number of equal leading full blocks."""
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    mine, theirs = keys(Prompt(packed(one)), size), keys(Prompt(packed(other)), size)
    assert len(mine) == len(one) // size
    equal = [a == b for a, b in zip(mine, theirs, strict=False)]
    assert equal == [number < common // size for number in range(len(equal))]


@given(TOKENS, st.integers(1, 8), st.integers(0, 6))
def test_a_chain_may_be_computed_in_parts(tokens: list[int], size: int, first: int) -> None:
    """Law: that is how events bring it."""
    whole = keys(Prompt(packed(tokens)), size)
    first = min(first, len(whole))
    parent = whole[first - 1] if first else root(size)
    assert whole[:first] + extended(parent, packed(tokens[first * size :]), size) == whole


def test_adapter_salt_and_media_make_other_blocks() -> None:
    """The salt is in the first block and so in all; a medium only from where it stands."""
    tokens = packed(range(8))
    plain = keys(Prompt(tokens), 2)
    assert not set(plain) & set(keys(Prompt(tokens, adapter="a"), 2))
    assert not set(plain) & set(keys(Prompt(tokens, salt="s"), 2))
    assert keys(Prompt(tokens, media=(Placed("m", 3, 2),)), 2)[:1] == plain[:1]
    assert not set(keys(Prompt(tokens, media=(Placed("m", 3, 2),)), 2)[1:]) & set(plain)


def test_extras_are_those_that_an_engine_tells() -> None:
    """In vLLM's order: media by their place relative to the block, then the salt, which is in the first block only."""
    tokens = packed(range(8))
    told = [["s"], [["m", 1]], [["m", -1]], None]
    prompt = Prompt(tokens, "a", "s", (Placed("m", 3, 2),))
    assert keys(prompt, 2) == extended(adapted(root(2), "a"), tokens, 2, told)


def test_keys_of_a_prompt_are_computed_once() -> None:
    """For each size of blocks; that a prompt was looked at makes it no other prompt."""
    prompt, fresh = Prompt(packed(range(64))), Prompt(packed(range(64)))
    assert keys(prompt, 16) is keys(prompt, 16)
    assert keys(prompt, 16) == keys(fresh, 16) != keys(prompt, 8)
    assert prompt == Prompt(packed(range(64)))
    other = msgspec.structs.replace(prompt, adapter="a")
    assert keys(other, 16) != keys(prompt, 16)


def test_sizes_of_blocks_are_told_apart() -> None:
    """A block of two tokens is none of four."""
    assert not set(keys(Prompt(packed(range(8))), 2)) & set(keys(Prompt(packed(range(8))), 4))


@pytest.mark.parametrize("token", [-1, 2**32])
def test_what_is_no_token_is_refused(token: int) -> None:
    """Rather than taken for another one."""
    with pytest.raises(OverflowError):
        packed([token])
