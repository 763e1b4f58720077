"""The ladder of a public benchmark."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from igw.lab.content import block_hashes
from igw.lab.traces.catalogue import workload
from igw.lab.traces.shared_prefix import LADDER, SharedPrefix


def test_prompts_of_a_group_share_the_system_prompt_and_nothing_else() -> None:
    """6,000 tokens; other groups share nothing."""
    shared = SharedPrefix(rate=20, seconds=60, groups=3, prompts=2)
    seen: dict[tuple[str, int], int] = {}
    hashes = [(each.tenant, block_hashes(each.turns[0], 16, 16)) for each in shared.sessions()]
    for (group, one), (other_group, other) in pairwise(hashes):
        equal = sum(a == b for a, b in zip(one, other, strict=True))
        assert equal == (0 if group != other_group else 375 if one[375] != other[375] else 450)
        seen[group, one[375]] = seen.get((group, one[375]), 0) + 1
    assert len(seen) == 6
    assert max(seen.values()) - min(seen.values()) <= 1


def test_answers_are_new_each_time() -> None:
    """The same prompt may get another answer."""
    turns = [each.turns[0] for each in SharedPrefix(rate=50, seconds=2, groups=1, prompts=1).sessions()]
    tails = [block_hashes(turn, 16, 16)[450:] for turn in turns]
    assert all(len(tail) == 62 for tail in tails)
    assert len(set(tails)) == len(tails) > 50


def test_a_block_across_the_border_belongs_to_the_prompt() -> None:
    """The system prompt is shared in whole blocks."""
    shared = SharedPrefix(rate=50, seconds=2, groups=1, prompts=2, prefix_tokens=40, prompt_tokens=24)
    one, other = {block_hashes(each.turns[0], 16, 16)[:4] for each in shared.sessions()}
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, False]


def test_the_ladder_has_the_published_stages() -> None:
    """Each about as many requests as its rate asks for, one after another."""
    ladder = SharedPrefix()
    starts = ladder.stage_starts()
    at = [each.start_seconds for each in ladder.sessions()]
    assert at == sorted(at)
    assert len(starts) == 18
    assert starts[-1] == sum(seconds for _, seconds in LADDER) == 502
    for (begin, end), (rate, seconds) in zip(pairwise(starts), LADDER, strict=True):
        assert sum(begin <= t < end for t in at) == pytest.approx(
            rate * seconds, abs=4 * (rate * seconds) ** 0.5
        )


def test_stages_can_wait_for_one_another() -> None:
    """Nothing is sent in between."""
    ladder = SharedPrefix(pause_seconds=100.0)
    starts = ladder.stage_starts()
    assert starts[1:3] == (150.0, 270.0)
    assert not [each for each in ladder.sessions() if 50.0 <= each.start_seconds < 150.0]


def test_every_prompt_is_sent_before_one_is_sent_again() -> None:
    """As the benchmark's tool does."""
    work = workload("shared-prefix", options={"rate": 30, "seconds": 60})
    firsts = [each.turns[0].runs[0][0] for each in work.sessions[:750]]
    groups = Counter(each.tenant for each in work.sessions[:750])
    assert set(groups.values()) == {5}
    assert len(set(firsts)) == 150
