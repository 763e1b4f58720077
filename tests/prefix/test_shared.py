"""What a shared tier is believed to hold."""

from __future__ import annotations

from igw.prefix.api import Cost, Question
from igw.prefix.hashing import block_hashes
from igw.prefix.shared import SharedPrefix

COST = Cost(0.005, 1e-5)


def blocks(text: str) -> list[int]:
    """Return the hashes of a text's blocks of 64 tokens."""
    return block_hashes(b"m", [memoryview(text.encode())])


def test_it_offers_what_was_stored_to_everybody() -> None:
    """As far as the prompts are equal."""
    tier = SharedPrefix(1_000_000, COST)
    first, second = blocks("a" * 1024), blocks("a" * 512 + "b" * 512)
    assert not tier.offers(Question("m", (), blocks=first))
    tier.stored(first)
    (offer,) = tier.offers(Question("m", (), blocks=second))
    assert (offer.tokens, offer.to, offer.peer, offer.cost) == (128, "", "", COST)


def test_newer_prompts_take_the_place_of_older_ones() -> None:
    """The least that an index holds is 4,096 tokens."""
    tier = SharedPrefix(4096, COST)
    old, new = blocks("old " * 2048), blocks("new " * 4096)
    tier.stored(old)
    tier.stored(new)
    assert not tier.offers(Question("m", (), blocks=old))
    assert tier.offers(Question("m", (), blocks=new))


def test_a_prompt_without_blocks_is_nowhere() -> None:
    """Shorter than a block, say."""
    assert not SharedPrefix(4096, COST).offers(Question("m", ()))
