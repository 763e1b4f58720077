"""`conversations`: the same for the same seed, and worth caching."""

from __future__ import annotations

from collections import Counter

from igw.simulator.text import tokenize
from igw.stack.traffic import Shape, conversations


def test_the_same_seed_asks_the_same() -> None:
    """Both runs of a check get identical requests."""
    assert conversations(3) == conversations(3)
    assert conversations(3) != conversations(4)


def test_system_prompts_are_shared_and_long_enough_for_caching_to_matter() -> None:
    """Every system prompt has thousands of tokens and as many conversations as the others."""
    shape = Shape(systems=3, conversations_per_system=4)
    shared = Counter(one.system for one in conversations(1, shape))
    assert list(shared.values()) == [4, 4, 4]
    assert all(len(tokenize(system)) > 2000 for system in shared)


def test_streamed_and_whole_answers_are_both_asked_for() -> None:
    """Both ways an answer can come are exercised, within the shape's bounds."""
    turns = [turn for one in conversations(1) for turn in one.turns]
    streamed = sum(turn.streamed for turn in turns)
    assert 0.5 < streamed / len(turns) < 0.9
    low, high = Shape().answer_tokens
    assert all(low <= turn.max_tokens <= high for turn in turns)
