"""Rivals, case by case, with numbers worked out by hand from the formulas in their files."""

from __future__ import annotations

import pytest

from igw.lab.policies.affinity_token_load import AffinityTokenLoad
from igw.lab.policies.dynamo_linear import ActiveBlocks, DynamoLinear
from igw.lab.policies.lmetric import LMetric
from igw.lab.policies.prefills import Prefills
from igw.lab.policies.sglang_cache_aware import SglangCacheAware
from igw.lab.policies.smg_least_load import SmgLeastLoad
from tests.lab.policies.candidates import DONE, decision, endpoints, facts, request, setting

HERE, THERE = endpoints(2)
BLOCKS = list(range(10))
"""640 tokens."""


def test_outstanding_tokens_are_let_go_once() -> None:
    """At the first token or at the end, whichever comes first; a second word changes nothing."""
    prefills = Prefills()
    first, second = decision(1, request(1000), HERE, matched=256), decision(2, request(500), HERE)
    prefills.begin(first)
    prefills.begin(second)
    assert list(prefills.column((THERE, HERE))) == [0.0, 1244.0]
    prefills.end(first)
    prefills.end(first)
    assert list(prefills.column((HERE,))) == [500.0]
    prefills.end(second)
    assert not prefills._tokens
    assert not prefills._open


def test_affinity_keeps_those_that_hold_the_prompt() -> None:
    """At least 0.8 of 640 tokens: 512. The busier of two holders loses, one that holds less is out."""
    policy = AffinityTokenLoad(setting())
    known = facts([0, 0, 0], matched=[512, 640, 448], blocks=BLOCKS)
    choice = policy.pick(request(700), known)
    assert choice.picked == [1, 0]
    assert list(choice.scores["prefix-cache-affinity-filter"]) == [0.0, 0.0, -2.0]
    assert choice.scores["token-load-scorer"][1] == 1 - 60 / 4_194_304
    policy.decided(decision(1, request(200), endpoints(3)[1]))
    assert policy.pick(request(700), known).picked == [0, 1]


def test_affinity_ends_where_waiting_costs_more_than_18_seconds() -> None:
    """18 s at 15,928 tokens/s are 286,704 tokens: one more and the idle endpoint is compared too."""
    policy = AffinityTokenLoad(setting())
    known = facts([1, 0], matched=[640, 0], blocks=BLOCKS)
    policy.decided(decision(1, request(286_704), HERE))
    assert policy.pick(request(700), known).picked[0] == 0
    policy.decided(decision(2, request(1), HERE))
    assert policy.pick(request(700), known).picked[0] == 1
    policy.first_token(decision(2, request(1), HERE))
    assert policy.pick(request(700), known).picked[0] == 0
    policy.ended(decision(1, request(286_704), HERE), DONE)
    assert not policy.prefills._open


def test_affinity_without_a_holder_is_load_alone() -> None:
    """Uncached tokens of this request count: 700 - 448 there, 700 + 100 here."""
    policy = AffinityTokenLoad(setting())
    policy.decided(decision(1, request(100), HERE))
    choice = policy.pick(request(700), facts([1, 0], matched=[0, 448], blocks=BLOCKS))
    assert choice.picked[0] == 1
    assert [round((1 - score) * 4_194_304) for score in choice.scores["token-load-scorer"]] == [800, 252]


@pytest.mark.parametrize(
    ("inflight", "matched", "queued", "product", "picked"),
    [
        ([0, 0], [0, 512], 0, [1000 * 1, 488 * 1], 1),
        ([0, 3], [0, 512], 0, [1000 * 1, 488 * 4], 0),
        ([0, 1], [0, 512], 0, [1000 * 1, 488 * 2], 1),
        ([2, 1], [640, 512], 500, [860 * 3, 488 * 2], 1),
        ([1, 1], [2000, 0], 0, [1 * 2, 1000 * 2], 0),
    ],
)
def test_lmetric_multiplies_prefill_work_and_batch(
    inflight: list[int], matched: list[int], queued: int, product: list[int], picked: int
) -> None:
    """A prompt of 1,000 tokens; *queued* tokens wait at the first endpoint. Nothing is ever less than one token."""
    policy = LMetric(setting())
    if queued:
        policy.decided(decision(1, request(queued), HERE))
    choice = policy.pick(request(1000), facts(inflight, matched=matched))
    assert list(-choice.scores["tokens x batch"]) == product
    assert choice.picked[0] == picked


def test_lmetric_lets_go_of_a_prompt_at_its_first_token() -> None:
    """And at the end, if that comes first."""
    policy = LMetric(setting())
    one, two = decision(1, request(500), HERE), decision(2, request(500), HERE)
    policy.decided(one)
    policy.decided(two)
    policy.first_token(one)
    policy.ended(one, DONE)
    policy.ended(two, DONE)
    assert not policy.prefills._tokens


def test_sglang_takes_the_best_match_when_it_is_good_enough() -> None:
    """More than half of the prompt; exactly half is not."""
    policy = SglangCacheAware(setting())
    choice = policy.pick(request(1000), facts([5, 0], matched=[501, 448]))
    assert (choice.picked[0], list(choice.scores)) == (0, ["prefix match"])
    choice = policy.pick(request(1000), facts([5, 0], matched=[500, 0]))
    assert list(choice.scores) == ["smallest tree"]


def test_sglang_takes_the_smallest_tree_on_a_miss_however_busy_it_is() -> None:
    """Trees grow by what is new to them, up to what the engine holds."""
    policy = SglangCacheAware(setting(kv_capacity_tokens=2000))
    policy.decided(decision(1, request(900), HERE))
    policy.decided(decision(2, request(1000), THERE, matched=512))
    assert policy.pick(request(1000), facts([0, 30])).picked[0] == 1
    policy.decided(decision(3, request(5000), HERE))
    policy.decided(decision(4, request(5000), THERE))
    assert list(-policy.pick(request(1000), facts([0, 30])).scores["smallest tree"]) == [2000.0, 2000.0]


@pytest.mark.parametrize(
    ("inflight", "rule"),
    [
        ([32, 0], "prefix match"),
        ([33, 0], "shortest queue"),
        ([400, 367], "prefix match"),
        ([374, 341], "prefix match"),
        ([370, 330], "shortest queue"),
    ],
)
def test_sglang_gives_up_affinity_when_out_of_balance(inflight: list[int], rule: str) -> None:
    """More than 32 apart and more than 1.1 times as many, both."""
    choice = SglangCacheAware(setting()).pick(request(1000), facts(inflight, matched=[1000, 0]))
    assert list(choice.scores) == [rule]
    assert choice.picked[0] == (1 if rule == "shortest queue" else 0)


def test_active_blocks_count_a_shared_prefix_once() -> None:
    """Two prompts of 700 tokens share four of their ten blocks: 700 + 444 tokens."""
    active = ActiveBlocks()
    one = decision(1, request(700), HERE, blocks=BLOCKS)
    two = decision(2, request(700), HERE, blocks=[0, 1, 2, 3, *range(20, 26)])
    active.add(one)
    assert active.new_tokens(two.blocks, 700) == 444
    active.add(two)
    assert active.tokens == 1144
    active.remove(one)
    assert active.tokens == 700
    assert active.new_tokens(one.blocks, 700) == 444
    active.remove(two)
    assert active.tokens == 0
    assert not active._users


def test_dynamo_adds_prefill_and_decode_blocks() -> None:
    """This prompt: 1,024 tokens, 64 blocks of 16. Here 512 are matched and 512 (32 blocks) of another prompt are still to be computed."""
    policy = DynamoLinear(setting())
    policy.decided(decision(1, request(512), HERE))
    choice = policy.pick(request(1024), facts([1, 0], matched=[512, 0]))
    assert list(-choice.scores["prefill blocks"]) == [32 + 64 - 32, 64]
    assert list(-choice.scores["decode blocks"]) == [32 + 64, 64]
    assert choice.picked[0] == 1
    policy.first_token(decision(1, request(512), HERE))
    choice = policy.pick(request(1024), facts([1, 0], matched=[640, 0]))
    assert list(-choice.scores["prefill blocks"]) == [24, 64]
    assert choice.picked[0] == 0
    policy.ended(decision(1, request(512), HERE), DONE)
    assert policy._active[HERE.hostport].tokens == 0


def test_smg_adds_drain_time_and_kv_pressure() -> None:
    """2,000 tokens are a second; half full costs 0.15 s, full does not divide by zero."""
    policy = SmgLeastLoad(setting())
    policy.decided(decision(1, request(200), HERE))
    choice = policy.pick(request(9000), facts([1, 0], kv_usage=[0.0, 0.5]))
    assert [round(sum(costs), 6) for costs in zip(*choice.scores.values(), strict=True)] == [-0.1, -0.15]
    assert choice.picked[0] == 0
    assert policy.pick(request(1), facts([1, 0], kv_usage=[0.2, 1.0])).picked[0] == 0
    policy.first_token(decision(1, request(200), HERE))
    policy.ended(decision(1, request(200), HERE), DONE)
    assert not policy.prefills._tokens
