"""The prefix index against a naive model, its bounds in memory, what it forgets first and what it learns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from igw.prefix.hashing import BLOCK_TOKENS, MAX_BLOCKS, tokens_at
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS, MIN_CAPACITY_TOKENS, PrefixIndex, PrefixStatistics

SMALL = BLOCK_TOKENS[0]
"""Tokens of a block near the start of a prompt."""
LEAST = MIN_CAPACITY_TOKENS // SMALL
"""How many of those the smallest cache holds."""


def filled(**blocks: int) -> PrefixIndex:
    """Return an index in which each named endpoint holds the first so many of the blocks 0, 1, 2..."""
    index = PrefixIndex()
    for name, count in blocks.items():
        index.record(index.slot(name), range(count))
    return index


def matches(index: PrefixIndex, blocks: Sequence[int]) -> dict[str, int]:
    """Return the match of every endpoint called `a` to `d` that is known."""
    matched = index.match(blocks)
    return {name: int(matched[slot]) for name in "abcd" if (slot := index.slot_of(name)) is not None}


def test_an_empty_index_matches_nothing() -> None:
    """There is not even a slot."""
    assert PrefixIndex().match([1, 2, 3]).tolist() == []
    assert PrefixIndex().statistics() == PrefixStatistics(blocks=0, entries=0)


def test_the_match_is_the_leading_run_of_each() -> None:
    """All endpoints are answered at once, in slot order."""
    index = filled(a=3, b=5, c=0)
    assert matches(index, range(8)) == {"a": 3, "b": 5, "c": 0}
    assert matches(index, range(2)) == {"a": 2, "b": 2, "c": 0}
    assert matches(index, []) == {"a": 0, "b": 0, "c": 0}


def test_a_gap_ends_the_match() -> None:
    """Who misses an early block cannot use the later ones, whatever others hold."""
    index = filled(a=4, b=4)
    index.forget(index.slot("b"), [1])
    assert matches(index, range(4)) == {"a": 4, "b": 1}
    index.forget(index.slot("b"), [0])
    assert matches(index, range(4)) == {"a": 4, "b": 0}


def test_more_endpoints_than_bits_in_a_word_are_told_apart() -> None:
    """Sets of endpoints have no fixed width."""
    index = PrefixIndex()
    for number in range(150):
        index.record(index.slot(f"e{number}"), range(number % 7))
    assert index.match(range(10)).tolist() == [number % 7 for number in range(150)]


def test_a_slot_is_found_only_for_a_known_endpoint() -> None:
    """Asking does not make one."""
    index = PrefixIndex()
    assert index.slot_of("a") is None
    assert index.slot_of("a") is None
    slot = index.slot("a")
    assert index.slot("a") == index.slot_of("a") == slot


def test_a_reused_slot_inherits_nothing() -> None:
    """Neither the blocks nor the learnt size of who had it before."""
    index = filled(a=100)
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.remove("a")
    assert index.slot_of("a") is None
    assert index.statistics() == PrefixStatistics(blocks=0, entries=0)
    assert index.slot("b") == slot
    assert matches(index, range(5)) == {"b": 0}
    index.record(slot, range(200))
    assert matches(index, range(200)) == {"b": 200}


def test_removing_a_stranger_does_nothing() -> None:
    """An endpoint may leave that was never served."""
    index = filled(a=3)
    index.remove("z")
    assert matches(index, range(3)) == {"a": 3}


def test_a_restarted_endpoint_holds_nothing_and_keeps_its_slot() -> None:
    """Others are not touched."""
    index = filled(a=5, b=5)
    slot = index.slot("a")
    index.forget(slot)
    assert matches(index, range(5)) == {"a": 0, "b": 5}
    assert index.slot_of("a") == slot
    assert index.statistics() == PrefixStatistics(blocks=5, entries=5)


def test_tails_are_forgotten_before_heads() -> None:
    """A head that others share is worth most; a tail without its head is worth nothing."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.record(slot, range(1000, 1040))
    index.record(slot, range(50))
    assert matches(index, range(50)) == {"a": 50}
    assert matches(index, range(1000, 1040)) == {"a": LEAST - 50}


def test_what_was_forgotten_makes_room() -> None:
    """Its tokens are given back with it."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.record(slot, range(LEAST))
    index.forget(slot, range(32, LEAST))
    index.record(slot, range(100, 132))
    assert matches(index, range(LEAST)) == {"a": 32}
    assert matches(index, range(100, 132)) == {"a": 32}
    index.forget(slot)
    index.record(slot, range(LEAST))
    assert matches(index, range(LEAST)) == {"a": LEAST}


def test_recording_again_makes_a_prefix_young() -> None:
    """What is used is not what is forgotten."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.record(slot, range(100, 132))
    index.record(slot, range(200, 232))
    index.record(slot, range(100, 132))
    index.record(slot, range(300, 332))
    assert matches(index, range(100, 132)) == {"a": 32}
    assert matches(index, range(200, 232)) == {"a": 0}


def test_a_prompt_longer_than_the_cache_leaves_its_head() -> None:
    """And leaks nothing: what was not kept is in no table."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.record(slot, range(MAX_BLOCKS))
    assert matches(index, range(MAX_BLOCKS)) == {"a": LEAST}
    assert index.statistics() == PrefixStatistics(blocks=LEAST, entries=LEAST)
    index.remove("a")
    assert index.statistics() == PrefixStatistics(blocks=0, entries=0)


def test_deep_blocks_weigh_what_they_are() -> None:
    """A cache is full by tokens: of two long prompts it keeps as much as it can, by whole blocks."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, 150_000)
    index.record(slot, range(1000, 1000 + MAX_BLOCKS))
    index.record(slot, range(MAX_BLOCKS))
    assert matches(index, range(MAX_BLOCKS)) == {"a": MAX_BLOCKS}
    kept = matches(index, range(1000, 1000 + MAX_BLOCKS))["a"]
    assert tokens_at(kept) <= 150_000 - tokens_at(MAX_BLOCKS) < tokens_at(kept + 1)


def test_more_blocks_than_a_prompt_has_are_refused() -> None:
    """Nobody knows what they would weigh."""
    index = PrefixIndex()
    with pytest.raises(ValueError, match="argument"):
        index.record(index.slot("a"), range(MAX_BLOCKS + 1))


def fill(index: PrefixIndex, name: str, prompts: int) -> None:
    """Make *name* hold the first 50 small blocks of each of so many prompts of its own, or as many as it can."""
    slot = index.slot(name)
    for number in range(prompts):
        start = (slot * 10**6 + number) * 100
        index.record(slot, range(start, start + 50))


def held_by(index: PrefixIndex, name: str) -> int:
    """Return how many small blocks *name* can hold, by making it hold as many as it can; no other holds any."""
    fill(index, name, DEFAULT_CAPACITY_TOKENS // SMALL // 50 + 20)
    return index.statistics().entries


def test_an_endpoint_that_has_not_told_its_size_holds_what_upstream_would_say() -> None:
    """As many blocks of 64 tokens as `lruCapacityPerServer`."""
    assert held_by(PrefixIndex(), "a") == 31_250


@pytest.mark.parametrize(("told", "held"), [(200, 200), (5000, 1000), (70, 70), (3, LEAST), (0, LEAST)])
def test_the_size_an_engine_tells_is_the_size_we_believe_in(told: int, held: int) -> None:
    """At once, in both directions, and never less than the least."""
    index = PrefixIndex()
    fill(index, "a", prompts=20)
    index.resize(index.slot("a"), told * SMALL)
    assert index.statistics().entries == held


def test_a_size_is_never_exceeded_by_a_part_of_a_block() -> None:
    """What does not fit as a whole does not fit."""
    index = PrefixIndex()
    fill(index, "a", prompts=20)
    index.resize(index.slot("a"), 200 * SMALL - 1)
    assert index.statistics().entries == 199


def test_memory_is_shared_by_all_endpoints() -> None:
    """However many endpoints come and whatever their engines hold, the index does not grow over its bound."""
    index = PrefixIndex(max_entries=1000)
    for number in range(10):
        fill(index, f"e{number}", prompts=20)
        assert index.statistics().entries <= 1000
    index.resize(index.slot("e0"), 10**9)
    fill(index, "e0", prompts=40)
    assert index.statistics().entries == 1000


def test_deep_blocks_cost_memory_like_any_other() -> None:
    """The bound in memory counts entries, whatever they weigh; what goes first is the tail, and its tokens go too."""
    index = PrefixIndex(max_entries=100)
    slot = index.slot("a")
    index.record(slot, range(MAX_BLOCKS))
    assert matches(index, range(MAX_BLOCKS)) == {"a": 100}
    index.correct(slot, believed_tokens=tokens_at(100), actual_tokens=0)
    assert tokens_at(matches(index, range(100))["a"]) <= tokens_at(100) * 9 // 10


def test_broken_beliefs_shrink_what_an_endpoint_is_believed_to_hold() -> None:
    """An engine that forgot sooner than we did holds less than its size says."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, 1000 * SMALL)
    assert held_by(index, "a") == 1000
    index.correct(slot, believed_tokens=640, actual_tokens=0)
    assert held_by(index, "a") == 900
    for _ in range(100):
        index.correct(slot, believed_tokens=640, actual_tokens=0)
    assert held_by(index, "a") == LEAST


def test_beliefs_that_come_true_restore_the_size_but_no_more() -> None:
    """Slowly up, quickly down; the engine's own size is the limit, and repeating it forgets nothing learnt."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, 1000 * SMALL)
    assert held_by(index, "a") == 1000
    index.correct(slot, believed_tokens=640, actual_tokens=0)
    index.resize(slot, 1000 * SMALL)
    index.correct(slot, believed_tokens=640, actual_tokens=640)
    assert held_by(index, "a") == 910
    for _ in range(20):
        index.correct(slot, believed_tokens=640, actual_tokens=640)
    assert held_by(index, "a") == 1000


def test_a_broken_belief_counts_at_once_however_little_is_held_of_a_large_cache() -> None:
    """What is believed in shrinks from what is held, not from a size that was never filled."""
    index = PrefixIndex()
    fill(index, "a", prompts=4)
    index.correct(index.slot("a"), believed_tokens=6400, actual_tokens=0)
    assert index.statistics().entries == 180


def test_memory_that_others_give_back_is_used_again() -> None:
    """An endpoint's share of the memory grows when others leave, and what was learnt of its engine stays."""
    index = PrefixIndex(max_entries=2000)
    for name in ("a", "b"):
        index.slot(name)
    index.resize(index.slot("a"), 1500 * SMALL)
    assert held_by(index, "a") == 1000
    index.remove("b")
    assert held_by(index, "a") == 1500


@pytest.mark.parametrize(("believed", "actual"), [(0, 0), (640, 320), (640, 2000), (1, 0)])
def test_small_errors_do_not_shrink_it(believed: int, actual: int) -> None:
    """The engine's tokens and ours are only roughly the same unit: half of what was believed will do."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, 1000 * SMALL)
    index.correct(slot, believed, actual)
    assert held_by(index, "a") == 1000


names = st.sampled_from("abcd")
prefix = st.integers(0, 3).flatmap(
    lambda family: st.integers(0, MAX_BLOCKS).map(lambda n: range(family * 1000, family * 1000 + n))
)
MAX_ENTRIES = 1200


def weight(blocks: list[int]) -> int:
    """Return the tokens of *blocks*."""
    return sum(BLOCK_TOKENS[block % 1000] for block in blocks)


class AgainstNaiveModel(RuleBasedStateMachine):
    """The index and one ordered list of blocks per endpoint, put through the same steps.

    The n-th block of every prompt has a number that ends in n, which tells its tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex(MAX_ENTRIES)
        self.held: dict[str, list[int]] = {}
        self.capacity: dict[str, int] = {}

    def _trim(self) -> None:
        for name, held in self.held.items():
            while len(held) > MAX_ENTRIES // len(self.held) or weight(held) > self.capacity[name]:
                held.pop(0)

    @rule(name=names)
    def come(self, name: str) -> None:
        """An endpoint joins, or is there already."""
        self.index.slot(name)
        self.held.setdefault(name, [])
        self.capacity.setdefault(name, DEFAULT_CAPACITY_TOKENS)
        self._trim()

    @rule(name=names)
    def leave(self, name: str) -> None:
        """An endpoint leaves, or was never there."""
        self.index.remove(name)
        self.held.pop(name, None)
        self.capacity.pop(name, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), blocks=prefix)
    def record(self, data: st.DataObject, blocks: range) -> None:
        """A prompt is sent to an endpoint."""
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.index.record(self.index.slot(name), blocks)
        self.held[name] = [block for block in self.held[name] if block not in blocks] + list(reversed(blocks))
        self._trim()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), blocks=st.none() | prefix)
    def forget(self, data: st.DataObject, blocks: range | None) -> None:
        """A prompt, or all, is forgotten at an endpoint."""
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.index.forget(self.index.slot(name), blocks)
        self.held[name] = (
            [] if blocks is None else [block for block in self.held[name] if block not in blocks]
        )

    @precondition(lambda self: self.held)
    @rule(data=st.data(), tokens=st.integers(0, 300_000))
    def resize(self, data: st.DataObject, tokens: int) -> None:
        """An engine tells its size."""
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.index.resize(self.index.slot(name), tokens)
        self.capacity[name] = max(MIN_CAPACITY_TOKENS, tokens)
        self._trim()

    @invariant()
    def the_match_is_the_longest_leading_run(self) -> None:
        """For every endpoint, whatever the others hold."""
        for family in range(4):
            asked = range(family * 1000, family * 1000 + MAX_BLOCKS)
            matched = self.index.match(asked)
            for name, held in self.held.items():
                slot = self.index.slot_of(name)
                assert slot is not None
                run = next((depth for depth, block in enumerate(asked) if block not in held), len(asked))
                assert matched[slot] == run

    @invariant()
    def holders_and_lists_agree(self) -> None:
        """As many blocks and entries as the lists have, and a slot for each."""
        entries = sum(len(held) for held in self.held.values())
        blocks = len({block for held in self.held.values() for block in held})
        assert self.index.statistics() == PrefixStatistics(blocks=blocks, entries=entries)
        slots = [self.index.slot_of(name) for name in self.held]
        assert len(set(slots)) == len(slots)


AgainstNaiveModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstNaiveModel = AgainstNaiveModel.TestCase


def used(index: PrefixIndex, name: str, prompts: Iterable[int], blocks: int = 16) -> None:
    """Let an endpoint see prompts of *blocks* blocks each, told apart by their numbers."""
    for prompt in prompts:
        index.record(index.slot(name), [prompt * 1000 + block for block in range(blocks)])


def coldness(index: PrefixIndex) -> dict[str, float]:
    """Return when the oldest block of each endpoint was used last."""
    return {
        name: float(index.oldest_use[slot]) for name in "abc" if (slot := index.slot_of(name)) is not None
    }


def small(*names: str) -> PrefixIndex:
    """Return an index of caches that hold twelve prompts of 16 blocks."""
    index = PrefixIndex()
    for name in names:
        index.resize(index.slot(name), 12 * 16 * SMALL)
    return index


def test_a_cache_with_room_is_the_coldest() -> None:
    """Whatever it holds; one that had to forget is not."""
    index = small("a", "b")
    used(index, "a", range(12))
    used(index, "b", range(50))
    found = coldness(index)
    assert found["a"] == 0 < found["b"]


def test_the_colder_of_two_full_caches_is_the_one_whose_blocks_were_not_used_for_longer() -> None:
    """Both are full; one has been left alone while the other took prompt after prompt."""
    index = small("a", "b")
    used(index, "a", range(40))
    used(index, "b", range(100, 200))
    found = coldness(index)
    assert found["a"] < found["b"]
    used(index, "a", range(300, 500))
    found = coldness(index)
    assert found["a"] > found["b"]


def test_a_block_that_is_used_again_and_again_does_not_make_a_cache_cold() -> None:
    """Its first use is long ago, its last one is not: within two prompts of the true age of the oldest block."""
    index = small("a")
    for turn in range(200):
        used(index, "a", [0, turn + 1])
    oldest = coldness(index)["a"]
    # Twelve prompts fit: the one that comes back and eleven others, the oldest of them eleven turns of two prompts ago.
    assert 400 - 2 * 14 <= oldest <= 400 - 2 * 9


def test_an_empty_cache_is_cold_again() -> None:
    """After a restart, under another name in its slot, and when it turns out larger."""
    index = small("a", "b", "c")
    for name in "abc":
        used(index, name, range(50))
    index.forget(index.slot("a"))
    index.resize(index.slot("b"), 100 * 16 * SMALL)
    index.remove("c")
    index.slot("c")
    assert coldness(index) == {"a": 0, "b": 0, "c": 0}


def test_marks_are_few_however_long_a_cache_is_used() -> None:
    """Prompts that are there already, prompts that are forgotten at once: neither leaves marks behind."""
    index = small("a")
    used(index, "a", [1] * 5_000)
    slot = index.slot("a")
    for prompt in range(5_000):
        blocks = [prompt * 1000 + block for block in range(16)]
        index.record(slot, blocks)
        index.forget(slot, blocks)
    used(index, "a", range(6_000, 8_000))
    assert index._beliefs[slot].marks <= 64
    assert sum(block < 0 for block in index._beliefs[slot].held) == index._beliefs[slot].marks
    assert index.statistics().entries == 12 * 16


def test_a_configuration_may_say_what_endpoints_hold() -> None:
    """Those that do not say so themselves; or all of them; and back."""
    index = PrefixIndex()
    silent, telling = index.slot("a"), index.slot("b")
    index.resize(telling, 200 * 64)
    index.expect(100 * 64)
    sizes = [index._beliefs[slot].nominal_tokens for slot in (silent, telling, index.slot("c"))]
    assert sizes == [6400, 12_800, 6400]
    index.expect(100 * 64, follow_engines=False)
    assert [index._beliefs[slot].nominal_tokens for slot in (silent, telling)] == [6400, 6400]
    index.resize(telling, 300 * 64)
    assert index._beliefs[telling].nominal_tokens == 6400
    index.expect(DEFAULT_CAPACITY_TOKENS)
    sizes = [index._beliefs[slot].nominal_tokens for slot in (silent, telling)]
    assert sizes == [DEFAULT_CAPACITY_TOKENS, 300 * 64]
