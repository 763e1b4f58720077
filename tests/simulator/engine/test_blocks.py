"""The paged KV memory: names, copies, eviction order, the CPU tier."""

from __future__ import annotations

from array import array

import pytest

from igw.simulator.engine.blocks import KvBlocks, block_hashes
from igw.simulator.engine.events import Cleared, KvEvent, Removed, Stored


def fill(blocks: KvBlocks, names: list[int]) -> None:
    """Hold one block per name and publish it; nobody has any of the names."""
    blocks.take(len(names))
    assert blocks.name_all(names) == []


def cached_prefix(blocks: KvBlocks, names: list[int]) -> int:
    """Return how many leading names are found."""
    return blocks.lookup(names, len(names))[0]


def test_hashes_cover_full_blocks_and_chain_over_prefix_and_model() -> None:
    """Equal prefixes agree up to where the tokens differ, and never across models."""
    one = block_hashes("m", array("I", range(10)), 4)
    other = block_hashes("m", array("I", [0, 1, 2, 3, 9, 5, 6, 7]), 4)
    assert len(one) == 2
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert set(one).isdisjoint(block_hashes("n", array("I", range(10)), 4))
    assert block_hashes("m", array("I", [4, 5, 6, 7]), 4)[0] != one[1]


def test_adapter_and_salt_are_part_of_every_hash() -> None:
    """One prompt under all combinations: no block is shared."""
    tokens = array("I", range(8))
    keys: list[dict[str, str]] = [{}, {"adapter": "x"}, {"salt": "x"}, {"adapter": "x", "salt": "x"}]
    hashes = [block_hashes("m", tokens, 4, **key) for key in keys]
    assert len({name for each in hashes for name in each}) == 8


def test_a_released_block_is_found_again_until_its_place_is_needed() -> None:
    """Free blocks count as free and as cached at the same time."""
    blocks = KvBlocks(4)
    fill(blocks, [1, 2])
    blocks.release([1, 2], 0)
    assert (blocks.free, blocks.cached, blocks.lookup([1, 2, 3], 9)) == (4, 2, (2, 2))
    blocks.take(2)
    assert blocks.cached == 2
    blocks.take(1)
    assert blocks.cached == 1


def test_the_tail_of_a_sequence_is_evicted_before_its_head() -> None:
    """A prefix stays useful longest from its beginning."""
    blocks = KvBlocks(3)
    fill(blocks, [1, 2, 3])
    blocks.release([1, 2, 3], 0)
    blocks.take(1)
    assert cached_prefix(blocks, [1, 2, 3]) == 2
    blocks.take(1)
    assert cached_prefix(blocks, [1, 2, 3]) == 1


def test_sharing_makes_a_cached_block_the_last_to_be_evicted() -> None:
    """Least recently used first."""
    blocks = KvBlocks(2)
    for name in (1, 2):
        fill(blocks, [name])
        blocks.release([name], 0)
    blocks.share([1])
    blocks.release([1], 0)
    blocks.take(1)
    assert (blocks.has(1), blocks.has(2)) == (True, False)


def test_a_shared_block_is_held_until_its_last_holder_releases_it() -> None:
    """Two sequences, one block of memory."""
    blocks = KvBlocks(2)
    fill(blocks, [1])
    blocks.share([1])
    assert blocks.free == 1
    blocks.release([1], 0)
    assert (blocks.free, blocks.lookup([1], 1)) == (1, (1, 0))
    blocks.release([1], 0)
    assert (blocks.free, blocks.lookup([1], 1), blocks.any_idle([2, 1])) == (2, (1, 1), True)


def test_a_second_copy_of_a_name_stays_unnamed_and_takes_its_own_block() -> None:
    """Two sequences that computed the same block at the same time, as in vLLM."""
    blocks = KvBlocks(2)
    fill(blocks, [1])
    blocks.take(1)
    assert (blocks.name(1), blocks.free) == ("copy", 0)
    blocks.release([1], 0)
    blocks.release([], 1)
    assert (blocks.free, blocks.cached) == (2, 1)


def test_a_block_computed_anew_takes_over_the_name_of_an_idle_copy() -> None:
    """Otherwise one name would be held and cached at once."""
    blocks = KvBlocks(2)
    fill(blocks, [1])
    blocks.release([1], 0)
    blocks.take(1)
    assert (blocks.name(1), blocks.free, blocks.cached) == ("known", 1, 0)


def test_naming_many_at_once_tells_what_became_of_each() -> None:
    """Also when a name comes twice in one sequence, which honest hashes never do."""
    blocks = KvBlocks(8)
    fill(blocks, [1, 2])
    blocks.release([2], 0)
    blocks.take(5)
    assert blocks.name_all([3, 1, 2, 4, 4]) == ["new", "copy", "known", "new", "copy"]
    blocks.release([3, 2, 4], 2)
    blocks.release([1], 0)
    assert blocks.free == 8


def test_taking_more_than_is_free_is_an_error() -> None:
    """The engine has to make room first."""
    blocks = KvBlocks(1)
    with pytest.raises(ValueError, match="2 blocks wanted, 1 free"):
        blocks.take(2)


def test_clearing_while_blocks_are_held_is_an_error() -> None:
    """Their holders would release what is not there."""
    blocks = KvBlocks(2)
    blocks.take(1)
    with pytest.raises(RuntimeError, match="1 blocks are in use"):
        blocks.clear()


def test_the_cpu_tier_keeps_what_the_gpu_evicts_as_long_as_it_can() -> None:
    """Least recently used first there too; events tell each change once."""
    told: list[KvEvent] = []
    blocks = KvBlocks(4, cpu_count=2, events=told.append)
    fill(blocks, [1, 2, 3])
    blocks.release([1, 2, 3], 0)
    blocks.take(3)
    assert told == [Removed((3, 2), "GPU"), Stored(None, 0, (3, 2), "CPU")]
    assert blocks.cpu_lookup([1, 2, 3], 1, 3) == 2
    assert blocks.cpu_usage == 1.0
    blocks.cpu_touch([3])
    blocks.take(1)
    assert told[2:] == [Removed((1,), "GPU"), Removed((2,), "CPU"), Stored(None, 0, (1,), "CPU")]
    assert blocks.names() == (set(), {3, 1})


def test_more_than_the_cpu_tier_can_take_passes_through_untold() -> None:
    """Only what is there in the end was stored."""
    told: list[KvEvent] = []
    blocks = KvBlocks(3, cpu_count=1, events=told.append)
    fill(blocks, [1, 2, 3])
    blocks.release([1, 2, 3], 0)
    blocks.take(3)
    assert told == [Removed((3, 2, 1), "GPU"), Stored(None, 0, (1,), "CPU")]
    blocks.release([], 3)
    blocks.clear()
    assert told[-1] == Cleared()
    assert blocks.cpu_usage == 0
