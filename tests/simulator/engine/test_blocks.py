"""The paged KV memory: names, copies, eviction order."""

from __future__ import annotations

from array import array

import pytest

from igw.simulator.engine.blocks import KvBlocks, block_hashes


def hold(blocks: KvBlocks, names: list[int]) -> list[int | None]:
    """Fill one block per name and return what is held."""
    blocks.take(len(names))
    return [name if blocks.name(name) else None for name in names]


def test_hashes_cover_full_blocks_and_chain_over_prefix_and_model() -> None:
    """Equal prefixes agree up to where the tokens differ, and never across models."""
    one = block_hashes("m", array("I", range(10)), 4)
    other = block_hashes("m", array("I", [0, 1, 2, 3, 9, 5, 6, 7]), 4)
    assert len(one) == 2
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert set(one).isdisjoint(block_hashes("n", array("I", range(10)), 4))
    assert block_hashes("m", array("I", [4, 5, 6, 7]), 4)[0] != one[1]


def test_a_released_block_is_found_again_until_its_place_is_needed() -> None:
    """Free blocks count as free and as cached at the same time."""
    blocks = KvBlocks(4)
    blocks.release(hold(blocks, [1, 2]))
    assert (blocks.free, blocks.cached, blocks.cached_prefix([1, 2, 3], 9)) == (4, 2, 2)
    blocks.take(2)
    assert blocks.cached == 2
    blocks.take(1)
    assert blocks.cached == 1


def test_the_tail_of_a_sequence_is_evicted_before_its_head() -> None:
    """A prefix stays useful longest from its beginning."""
    blocks = KvBlocks(3)
    blocks.release(hold(blocks, [1, 2, 3]))
    blocks.take(1)
    assert blocks.cached_prefix([1, 2, 3], 9) == 2
    blocks.take(1)
    assert blocks.cached_prefix([1, 2, 3], 9) == 1


def test_sharing_makes_a_cached_block_the_last_to_be_evicted() -> None:
    """Least recently used first."""
    blocks = KvBlocks(2)
    blocks.release(hold(blocks, [1]))
    blocks.release(hold(blocks, [2]))
    blocks.share([1])
    blocks.release([1])
    blocks.take(1)
    assert (blocks.cached_prefix([1], 1), blocks.cached_prefix([2], 1)) == (1, 0)


def test_a_shared_block_is_held_until_its_last_holder_releases_it() -> None:
    """Two sequences, one block of memory."""
    blocks = KvBlocks(2)
    held = hold(blocks, [1])
    blocks.share([1])
    assert blocks.free == 1
    blocks.release(held)
    assert (blocks.free, blocks.idle_among([1])) == (1, 0)
    blocks.release([1])
    assert (blocks.free, blocks.idle_among([1])) == (2, 1)


def test_a_second_copy_of_a_name_stays_unnamed_and_takes_its_own_block() -> None:
    """Two sequences that computed the same block at the same time, as in vLLM."""
    blocks = KvBlocks(2)
    first, second = hold(blocks, [1]), hold(blocks, [1])
    assert (first, second, blocks.free) == ([1], [None], 0)
    blocks.release(first)
    blocks.release(second)
    assert (blocks.free, blocks.cached) == (2, 1)


def test_a_block_computed_anew_takes_over_the_name_of_an_idle_copy() -> None:
    """Otherwise one name would be held and cached at once."""
    blocks = KvBlocks(2)
    blocks.release(hold(blocks, [1]))
    held = hold(blocks, [1])
    assert (held, blocks.free, blocks.cached) == ([1], 1, 0)


def test_taking_more_than_is_free_is_an_error() -> None:
    """The engine has to make room first."""
    blocks = KvBlocks(1)
    with pytest.raises(ValueError, match="2 blocks wanted, 1 free"):
        blocks.take(2)
