"""The exact index against a brute-force oracle, frames of a real engine, bounds in memory, what is left out and counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from igw.prefix.chain import Prompt, packed
from igw.prefix.events import TIERS, AllBlocksCleared, BlockRemoved, BlockStored, decode
from igw.prefix.exact import BLOCK_BYTES, MAX_TOKENS, ExactIndex
from igw.prefix.held import EXPECTED

FRAMES = Path(__file__).parent / "data" / "vllm-0.32.0-kv-frames.hex"
SIZE = 2
MEDIA = ("GPU", "CPU", "DISK", "SHARED")


def stored(tokens: list[int], name: int = 1, **more: Any) -> BlockStored:
    """Return an event of consecutive blocks, named from *name* on."""
    return BlockStored(
        list(range(name, name + len(tokens) // SIZE)), token_ids=tokens, block_size=SIZE, **more
    )


def tokens_held(index: ExactIndex, hostport: str, tokens: list[int], **more: Any) -> dict[str, float]:
    """Return by source what *hostport* holds of a prompt."""
    slot = index.slot(hostport)
    held = index.match(index.keys(Prompt(packed(tokens), **more)))
    found = {source: float(column[slot]) for source, column in held.sources.items() if column[slot]}
    assert sum(found.values()) == held.tokens[slot]
    return found


def test_what_was_stored_is_held_until_it_is_removed() -> None:
    """And only as far as no block is missing."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2, 3, 4, 5, 6])])
    assert tokens_held(index, "a", [1, 2, 3, 4, 5, 6, 7]) == {"gpu": 6}
    assert tokens_held(index, "a", [1, 2, 3, 9]) == {"gpu": 2}
    index.apply(a, [BlockRemoved([2])])
    assert tokens_held(index, "a", [1, 2, 3, 4, 5, 6]) == {"gpu": 2}
    index.apply(a, [AllBlocksCleared()])
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {}
    assert index.statistics().entries == index.statistics().blocks == 0


def test_a_block_with_two_copies_goes_with_the_second() -> None:
    """An engine tells of every physical block: two requests that computed the same prompt at once store it twice."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2]), stored([1, 2]), BlockRemoved([1])])
    assert tokens_held(index, "a", [1, 2]) == {"gpu": 2}
    index.apply(a, [BlockRemoved([1])])
    assert tokens_held(index, "a", [1, 2]) == {}


def test_blocks_move_to_lower_tiers_without_their_tokens() -> None:
    """The best tier that has a block is the one that counts."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2, 3, 4]), BlockStored([2], medium="CPU")])
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {"gpu": 4}
    index.apply(a, [BlockRemoved([2], "GPU")])
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {"gpu": 2, "cpu": 2}
    held = index.match(index.keys(Prompt(packed([1, 2, 3, 4]))))
    assert held.credited({"cpu": 0.5}).tolist() == [3.0]


def test_an_adapter_has_blocks_of_its_own() -> None:
    """Whether or not the engine tells its name among the extra keys."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(
        a, [stored([1, 2], lora_name="x", lora_id=1, extra_keys=[["x"]]), stored([3, 4], 9, lora_name="x")]
    )
    assert tokens_held(index, "a", [1, 2]) == {}
    assert (
        tokens_held(index, "a", [1, 2], adapter="x")
        == tokens_held(index, "a", [3, 4], adapter="x")
        == {"gpu": 2}
    )
    assert index.is_adapter("x")
    assert not index.is_adapter("m")
    index.apply(a, [stored([7, 8], 20, lora_id=5)])
    assert tokens_held(index, "a", [7, 8]) == {}, "an adapter without a name must not pass for the base model"


def test_a_block_whose_parent_is_not_known_is_left_out_and_counted() -> None:
    """Its place in a prompt cannot be told."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2], parent_block_hash=77), BlockStored([5], medium="CPU")])
    assert index.statistics().orphans == 2
    assert index.statistics().entries == 0
    assert index.told("a") == (0, 2)


def test_kinds_of_cache_that_say_nothing_of_a_prefix_are_skipped() -> None:
    """A window's block is there long after the prefix before it is gone; its removals must not count either."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2], group_idx=0, kv_cache_spec_kind="full_attention")])
    index.apply(
        a, [stored([1, 2], group_idx=1, kv_cache_spec_kind="sliding_window"), BlockRemoved([1], "GPU", 1)]
    )
    assert tokens_held(index, "a", [1, 2]) == {"gpu": 2}
    assert index.statistics().skipped == 1


def test_an_event_that_contradicts_itself_is_left_out() -> None:
    """Too few tokens, a size of 0, a token that is none."""
    index = ExactIndex()
    wrong = [
        BlockStored([1, 2], token_ids=[1], block_size=2),
        BlockStored([1], token_ids=[1], block_size=0),
        stored([-1, 2]),
        BlockStored([1], token_ids=[1] * 70_000, block_size=70_000),
    ]
    index.apply(index.slot("a"), wrong)
    assert index.statistics().malformed == 4
    assert index.statistics().entries == 0


def test_engines_with_blocks_of_other_sizes_are_compared_in_tokens() -> None:
    """Each prompt is hashed once for each size in use."""
    index = ExactIndex()
    index.apply(index.slot("a"), [stored([1, 2, 3, 4, 5, 6])])
    index.apply(index.slot("b"), [BlockStored([1], token_ids=[1, 2, 3, 4], block_size=4)])
    assert sorted(index.block_sizes) == [2, 4]
    held = index.match(index.keys(Prompt(packed([1, 2, 3, 4, 5, 6]))))
    assert held.tokens.tolist() == [6, 4]
    index.remove("b")
    assert index.block_sizes == (2,)


def test_names_of_one_engine_mean_nothing_to_another() -> None:
    """Two that count their blocks from 1 hold what they said, and a removal is their own."""
    index = ExactIndex()
    index.apply(index.slot("a"), [stored([1, 2])])
    index.apply(index.slot("b"), [stored([3, 4])])
    index.apply(index.slot("b"), [BlockRemoved([1])])
    assert tokens_held(index, "a", [1, 2]) == {"gpu": 2}
    assert tokens_held(index, "b", [3, 4]) == {}


def test_every_holder_of_a_block_is_known() -> None:
    """There is no cap on them."""
    index = ExactIndex()
    for number in range(200):
        index.apply(index.slot(str(number)), [stored([1, 2, 3, 4])])
    assert index.match(index.keys(Prompt(packed([1, 2, 3, 4])))).tokens.tolist() == [4.0] * 200


def test_very_long_prompts_are_looked_at_from_their_start_only() -> None:
    """A request must not hold up others for long, whatever it brings."""
    index = ExactIndex()
    index.apply(index.slot("a"), [stored([1, 1])])
    (keys,) = index.keys(Prompt(packed([1] * (MAX_TOKENS + 100)))).values()
    assert len(keys) == MAX_TOKENS // SIZE


def test_memory_is_bounded_and_what_has_no_room_is_counted() -> None:
    """Nobody takes more than its share once half is used."""
    index = ExactIndex(max_bytes=100 * BLOCK_BYTES)
    assert (index.slot("a"), index.slot("b")) == (0, 1)
    for name in ("a", "b"):
        for first in range(0, 400, 2):
            index.apply(index.slot(name), [stored([first, first + 1, ord(name), 0], name=first)])
    statistics = index.statistics()
    assert statistics.size_bytes <= 100 * BLOCK_BYTES
    assert statistics.refused > 0
    assert tokens_held(index, "b", [0, 1, ord("b"), 0]) == {"gpu": 4}


def test_what_was_just_routed_is_expected_for_a_while() -> None:
    """A first request's end does not end what a second one promised."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2])])
    keys = index.keys(Prompt(packed([1, 2, 3, 4])))
    index.expect(a, keys, until=2.0)
    index.expect(a, keys, until=3.0)
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {"gpu": 2, EXPECTED: 2}
    index.expected.expire(2.0)
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {"gpu": 2, EXPECTED: 2}
    index.expected.expire(3.0)
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {"gpu": 2}
    assert not index.expected.holders


def test_what_the_engine_told_is_expected_no_longer() -> None:
    """It may be evicted before the time is over."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2])])
    index.expect(a, index.keys(Prompt(packed([1, 2, 3, 4]))), until=2.0)
    index.apply(a, [stored([1, 2, 3, 4])])
    assert not index.expected.holders
    index.apply(a, [AllBlocksCleared()])
    assert tokens_held(index, "a", [1, 2, 3, 4]) == {}


def test_an_endpoint_that_left_leaves_nothing() -> None:
    """Its slot goes to another, which holds nothing."""
    index = ExactIndex()
    a = index.slot("a")
    index.apply(a, [stored([1, 2])])
    index.expect(a, index.keys(Prompt(packed([1, 2]))), until=9.0)
    index.remove("a")
    assert index.slot("b") == a
    index.apply(index.slot("c"), [stored([1, 2])])
    assert tokens_held(index, "b", [1, 2]) == {}


def test_frames_of_a_real_engine_are_found_again_by_their_tokens() -> None:
    """What vLLM called its blocks is not needed for it, only that it is the same from event to event."""
    index, batches = ExactIndex(), []
    slot = index.slot("a")
    for line in FRAMES.read_text().splitlines()[:12]:
        batches.append(decode(bytes.fromhex(line.split()[2])))
        index.apply(slot, batches[-1].events)
    assert index.statistics().orphans == 0
    for batch in batches:
        for event in batch.events:
            assert isinstance(event, BlockStored)
            if event.parent_block_hash is None:
                prompt = Prompt(packed(event.token_ids), adapter=event.lora_name or "")
                assert index.match(index.keys(prompt)).tokens[slot] == len(event.token_ids)


class AgainstAnOracle(RuleBasedStateMachine):
    """Any sequence of events on three engines, each with names of its own, and a second name for every block."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ExactIndex()
        self.copies: Counter[tuple[str, int, Any]] = Counter()  # (engine, tier, name) -> how many
        self.chain_of: dict[tuple[str, int, Any], tuple[Any, ...]] = {}
        self.expected: list[tuple[str, tuple[Any, ...]]] = []
        self.has_size: set[str] = set()

    ENGINES = st.sampled_from("abc")
    TIER = st.sampled_from(range(len(TIERS)))
    BLOCKS = st.lists(st.sampled_from([(0, 0), (0, 1)]), min_size=1, max_size=4)
    ADAPTERS = st.sampled_from(["", "x"])

    @staticmethod
    def name(engine: str, adapter: str, blocks: list[tuple[int, int]], variant: int) -> bytes:
        return repr((engine, adapter, blocks, variant)).encode()

    def known(self, engine: str, name: bytes) -> bool:
        return any(self.copies[engine, tier, name] for tier in range(len(TIERS)))

    @rule(
        engine=ENGINES,
        tier=TIER,
        adapter=ADAPTERS,
        blocks=BLOCKS,
        first=st.integers(0, 3),
        variant=st.integers(0, 1),
    )
    def store(
        self, engine: str, tier: int, adapter: str, blocks: list[tuple[int, int]], first: int, variant: int
    ) -> None:
        first = min(first, len(blocks) - 1)
        names = [self.name(engine, adapter, blocks[: end + 1], variant) for end in range(first, len(blocks))]
        parent = self.name(engine, adapter, blocks[:first], variant) if first else None
        event = BlockStored(
            list(names), parent, [token for block in blocks[first:] for token in block], SIZE,
            medium=MEDIA[tier], lora_name=adapter or None,
        )  # fmt: skip
        self.index.apply(self.index.slot(engine), [event])
        self.has_size.add(engine)
        placed = parent is None or self.known(engine, parent)
        for end, name in enumerate(names, first + 1):
            if placed or self.copies[engine, tier, name]:
                self.copies[engine, tier, name] += 1
                self.chain_of[engine, tier, name] = (adapter, *blocks[:end])
            if placed:
                self.tell(engine, (adapter, *blocks[:end]))

    def tell(self, engine: str, chain: tuple[Any, ...]) -> None:
        """Note that an engine told of a block: nobody expects it any more."""
        self.expected = [each for each in self.expected if each != (engine, chain)]

    @rule(engine=ENGINES, tier=TIER, adapter=ADAPTERS, blocks=BLOCKS, variant=st.integers(0, 1))
    def move(self, engine: str, tier: int, adapter: str, blocks: list[tuple[int, int]], variant: int) -> None:
        name = self.name(engine, adapter, blocks, variant)
        known = self.known(engine, name)
        self.index.apply(self.index.slot(engine), [BlockStored([name], medium=MEDIA[tier])])
        if known:
            self.copies[engine, tier, name] += 1
            self.chain_of[engine, tier, name] = (adapter, *blocks)
            self.tell(engine, (adapter, *blocks))

    @rule(engine=ENGINES, tier=TIER, adapter=ADAPTERS, blocks=BLOCKS, variant=st.integers(0, 1))
    def remove(
        self, engine: str, tier: int, adapter: str, blocks: list[tuple[int, int]], variant: int
    ) -> None:
        name = self.name(engine, adapter, blocks, variant)
        self.index.apply(self.index.slot(engine), [BlockRemoved([name], MEDIA[tier])])
        if self.copies[engine, tier, name]:
            self.copies[engine, tier, name] -= 1

    @rule(engine=ENGINES, leaves=st.booleans())
    def clear(self, engine: str, leaves: bool) -> None:
        if leaves:
            self.index.remove(engine)
            self.expected = [each for each in self.expected if each[0] != engine]
        else:
            self.index.apply(self.index.slot(engine), [AllBlocksCleared()])
        self.has_size.discard(engine)
        for key in self.copies:
            if key[0] == engine:
                self.copies[key] = 0

    @rule(engine=ENGINES, adapter=ADAPTERS, blocks=BLOCKS)
    def expect(self, engine: str, adapter: str, blocks: list[tuple[int, int]]) -> None:
        tokens = packed(token for block in blocks for token in block)
        keys = self.index.keys(Prompt(tokens, adapter))
        self.index.expect(self.index.slot(engine), keys, until=len(self.expected) + 1.0)
        if keys:
            self.expected += [(engine, (adapter, *blocks[:end])) for end in range(1, len(blocks) + 1)]

    @rule()
    def expire(self) -> None:
        self.index.expected.expire(1e9)
        self.expected.clear()

    @invariant()
    def every_prompt_is_matched_as_the_oracle_says(self) -> None:
        for adapter in ("", "x"):
            for number in range(16):
                blocks = [(0, number >> place & 1) for place in range(4)]
                self.check(adapter, blocks)
        entries = sum(1 for count in self.copies.values() if count)
        assert self.index.statistics().entries == entries

    def check(self, adapter: str, blocks: list[tuple[int, int]]) -> None:
        tokens = packed(token for block in blocks for token in block)
        keys = self.index.keys(Prompt(tokens, adapter))
        held = self.index.match(keys)
        for engine in "abc":
            slot = self.index.slot_of(engine)
            if slot is None or not keys:
                continue
            wanted: Counter[str] = Counter()
            for end in range(1, len(blocks) + 1):
                source = self.source(engine, (adapter, *blocks[:end]))
                if not source:
                    break
                wanted[source] += SIZE
            found = {source: int(column[slot]) for source, column in held.sources.items() if column[slot]}
            assert found == dict(wanted)

    def source(self, engine: str, chain: tuple[Any, ...]) -> str:
        tiers = [
            tier
            for (where, tier, name), count in self.copies.items()
            if count and where == engine and self.chain_of[where, tier, name] == chain
        ]
        return TIERS[min(tiers)] if tiers else EXPECTED if (engine, chain) in self.expected else ""


TestAgainstAnOracle = AgainstAnOracle.TestCase
TestAgainstAnOracle.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
