"""Conversations out of a few numbers."""

from __future__ import annotations

from statistics import mean

import pytest

from igw.lab.blocks import size, started
from igw.lab.content import block_hashes
from igw.lab.oracles import hit_ratio, in_order
from igw.lab.traces.catalogue import workload
from igw.lab.traces.synthetic import Synthetic


def test_lengths_and_rate_are_those_asked_for() -> None:
    """In the mean."""
    work = workload(
        "synthetic", options={"rate": 40, "seconds": 100, "prompt_tokens": 800, "output_tokens": 90}
    )
    turns = list(work.turns())
    assert len(work.sessions) == pytest.approx(4000, rel=0.06)
    assert mean(turn.prompt_tokens for turn in turns) == pytest.approx(800, rel=0.04)
    assert mean(turn.output_tokens for turn in turns) == pytest.approx(90, rel=0.04)
    assert work.sessions[-1].start_seconds < 100


def test_without_spread_all_are_alike() -> None:
    """A coefficient of variation of 0."""
    sizes = {(t.prompt_tokens, t.output_tokens) for s in Synthetic(spread=0.0).sessions() for t in s.turns}
    assert sizes == {(1000, 200)}


def test_a_share_of_the_prompt_is_found_again() -> None:
    """The system prompts, once each of them was sent."""
    work = workload("synthetic", options={"rate": 50, "prefix_share": 0.6, "prefixes": 3})
    assert hit_ratio(in_order(work), work.block_tokens) == pytest.approx(0.6, abs=0.03)


def test_a_conversation_is_one_text_that_grows() -> None:
    """Each prompt begins with all that was said before."""
    for session in Synthetic(turns=4.0, prefix_share=0.3, think_seconds=2.0).sessions():
        before: tuple[int, ...] = ()
        said = 0
        for turn in session.turns:
            hashes = block_hashes(turn, 16, 16)
            assert hashes[: len(before)] == before
            assert turn.prompt_tokens > said
            assert size(turn.runs) == started(turn.prompt_tokens + turn.output_tokens, 16)
            before, said = hashes, turn.prompt_tokens + turn.output_tokens


def test_conversations_have_as_many_turns_and_pauses_as_asked_for() -> None:
    """In the mean."""
    made = list(Synthetic(rate=20, turns=3.0, think_seconds=4.0).sessions())
    assert mean(len(each.turns) for each in made) == pytest.approx(3.0, rel=0.08)
    pauses = [turn.think_seconds for each in made for turn in each.turns[1:]]
    assert mean(pauses) == pytest.approx(4.0, rel=0.08)


def test_tenants_take_turns() -> None:
    """By number."""
    tenants = [each.tenant for each in Synthetic(tenants=3).sessions()]
    assert tenants[:4] == ["tenant-0", "tenant-1", "tenant-2", "tenant-0"]
