"""The ring: equal keys meet, full ones are passed over, few keys move when an endpoint comes or goes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from igw.lab.policies.consistent_hashing import ConsistentHashing
from tests.lab.policies.candidates import endpoints, facts, request, setting


def keys(count: int) -> list[list[int]]:
    """Return so many prompts of six blocks."""
    rng = random.Random(1)
    return [[rng.getrandbits(64) for _ in range(6)] for _ in range(count)]


def test_prompts_that_share_their_first_256_tokens_meet() -> None:
    """Four blocks of 64 tokens make the key; what comes after does not matter, what comes before does."""
    policy = ConsistentHashing(setting())
    for blocks in keys(20):
        here = policy.pick(request(), facts([0] * 8, blocks=blocks)).picked
        assert policy.pick(request(), facts([0] * 8, blocks=[*blocks[:4], 1, 2])).picked == here
    spread = {tuple(policy.pick(request(), facts([0] * 8, blocks=blocks)).picked) for blocks in keys(200)}
    assert {first for first, _ in spread} == set(range(8))


def test_a_prompt_without_a_full_block_is_known_by_its_bytes() -> None:
    """Short prompts do not all land on one endpoint."""
    policy = ConsistentHashing(setting())
    picks = [policy.pick(request(3, text=b"prompt %d" % n), facts([0] * 8)).picked[0] for n in range(40)]
    assert len(set(picks)) > 4
    assert picks[7] == policy.pick(request(3, text=b"prompt 7"), facts([0] * 8)).picked[0]


def test_a_full_endpoint_is_passed_over_for_the_next_on_the_ring() -> None:
    """Of 9 requests and this one, 4 endpoints may have ceil(1.25 x 10 / 4) = 4 each."""
    policy = ConsistentHashing(setting())
    (blocks,) = keys(1)
    first, second = policy.pick(request(), facts([0, 0, 0, 0], blocks=blocks)).picked
    inflight = [2] * 4
    inflight[first] = 3
    assert policy.pick(request(), facts(inflight, blocks=blocks)).picked == [first, second]
    inflight = [1] * 4
    inflight[first], inflight[second] = 4, 3
    choice = policy.pick(request(), facts(inflight, blocks=blocks))
    assert choice.picked[0] == second
    assert int(choice.scores["ring"].argmax()) == second


@given(inflight=st.lists(st.integers(0, 50), min_size=1, max_size=6), key=st.integers(0, 2**64 - 1))
def test_nobody_gets_more_than_its_share(inflight: list[int], key: int) -> None:
    """There is always one with room, and it is taken."""
    picked = ConsistentHashing(setting(), points=4).pick(request(), facts(inflight, blocks=[key] * 4)).picked
    assert inflight[picked[0]] + 1 <= 1.25 * (sum(inflight) + 1) / len(inflight) + 1


def test_few_keys_move_when_an_endpoint_leaves_and_all_come_back_with_it() -> None:
    """Only those that were there."""
    policy, all_of_them = ConsistentHashing(setting()), endpoints(5)
    without = all_of_them[:2] + all_of_them[3:]

    def owners(at: tuple[object, ...]) -> list[str]:
        picks = [policy.pick(request(), facts([0] * len(at), blocks=blocks, at=at)) for blocks in keys(200)]  # type: ignore[arg-type]
        return [at[choice.picked[0]].hostport for choice in picks]  # type: ignore[attr-defined]

    before, between, after = owners(all_of_them), owners(without), owners(all_of_them)
    left = all_of_them[2].hostport
    assert before == after
    assert left in before
    assert all(old == new for old, new in zip(before, between, strict=True) if old != left)
