"""Which model a request is for: precedence, shares, what keeps them together, and odd input."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.config.gateway_api import ObjectMeta
from igw.config.manifests import Manifests
from igw.config.models import (
    InferenceModelRewrite,
    Match,
    ModelMatch,
    PoolRef,
    RewriteRule,
    RewriteSpec,
    Target,
)
from igw.discovery import snapshot
from igw.parsing.reading import read
from igw.request import Head, Request
from igw.routing.rewriting import Rewrites, rewritten

RULE = tuple[tuple[str, ...], Mapping[str, int | None] | None]


def an_object(
    *rules: RULE, name: str = "r", sticky: str = "", created: str | None = None, namespace: str = "default"
) -> InferenceModelRewrite:
    """Return a rewrite whose rules are (names that they match, target -> weight)."""
    return InferenceModelRewrite(
        api_version="llm-d.ai/v1alpha2",
        kind="InferenceModelRewrite",
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            creation_timestamp=created,
            annotations={"igw.dev/sticky-by": sticky} if sticky else {},
        ),
        spec=RewriteSpec(
            pool_ref=PoolRef(name="p"),
            rules=tuple(
                RewriteRule(
                    matches=tuple(Match(model=ModelMatch(value=model)) for model in models),
                    targets=None
                    if targets is None
                    else tuple(Target(model_rewrite=name, weight=weight) for name, weight in targets.items()),
                )
                for models, targets in rules
            ),
        ),
    )


def rewrites(*objects: InferenceModelRewrite, seed: int = 1) -> Rewrites:
    """Return the rewrites of pool default/p, drawn from *seed*."""
    placed = snapshot.rewrites(Manifests(rewrites=objects))
    return Rewrites(placed.get("default/p", ()), random.Random(seed).random)


def chat(model: str = "m", text: str = "hi", **headers: str) -> Request:
    """Return a chat request."""
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": text}]})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read(Head("/v1/chat/completions", "POST", named), body)


def target(of: Rewrites | None, request: Request) -> str:
    """Return which model the server is asked for."""
    return rewritten(request, of).served_model


def test_a_rule_that_names_the_model_wins_over_one_that_fits_all() -> None:
    """Whatever their order."""
    found = rewrites(an_object(((), {"all": None}), (("m",), {"mine": None})))
    assert target(found, chat("m")) == "mine"
    assert target(found, chat("other")) == "all"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (an_object((("m",), {"yes": 1}), created="2025-01-01T00:00:00Z", name="z"),
         an_object((("m",), {"no": 1}), created="2025-01-01T00:00:01Z", name="a")),
        (an_object((("m",), {"yes": 1}), created="2025-01-01T00:00:00+02:00"),
         an_object((("m",), {"no": 1}), created="2024-12-31T23:00:00Z", name="a")),
        (an_object((("m",), {"yes": 1}), created="2025-01-01T00:00:00Z", name="a"),
         an_object((("m",), {"no": 1}), created="2025-01-01T00:00:00Z", name="b")),
        (an_object((("m",), {"yes": 1}), created="2025-01-01T00:00:00Z", name="z"),
         an_object((("m",), {"no": 1}), name="a")),
    ],
)  # fmt: skip
def test_of_objects_the_oldest_wins_then_the_first_by_name(
    first: InferenceModelRewrite, second: InferenceModelRewrite
) -> None:
    """Those of known age before the others; the same in any order of reading."""
    assert target(rewrites(first, second), chat()) == "yes"
    assert target(rewrites(second, first), chat()) == "yes"


def test_objects_without_age_count_in_the_order_of_the_files() -> None:
    """And rules in that of their object."""
    one, two = an_object((("m",), {"z": 1}), name="z"), an_object((("m",), {"a": 1}), name="a")
    assert target(rewrites(one, two), chat()) == "z"
    assert target(rewrites(two, one), chat()) == "a"
    assert target(rewrites(an_object((("m",), {"first": 1}), (("m",), {"second": 1}))), chat()) == "first"


def test_any_match_of_a_rule_will_do() -> None:
    """They are joined by or; names count whole and with their case."""
    found = rewrites(an_object((("a", "b"), {"t": 1})))
    assert [target(found, chat(name)) for name in ("a", "b", "A", "ab")] == ["t", "t", "A", "ab"]


def test_rewrites_of_other_pools_do_not_count() -> None:
    """A pool is one of a namespace."""
    assert target(rewrites(an_object((("m",), {"t": 1}), namespace="other")), chat()) == "m"


def test_a_rule_without_targets_keeps_its_names_from_a_rule_that_fits_all() -> None:
    """It does nothing, and that is all it does: upstream answers 400."""
    found = rewrites(an_object((("m",), None), ((), {"t": 1})))
    kept = rewritten(chat("m"), found)
    assert (kept.served_model, kept.rewritten_by) == ("m", None)
    assert target(found, chat("x")) == "t"


def test_a_target_without_a_name_leaves_its_share_as_it_is() -> None:
    """As does one that has the client's own name; both are picks of the rule."""
    for name in ("", "m"):
        found = rewritten(chat("m"), rewrites(an_object((("m",), {name: 1}))))
        assert (found.target_model, found.rewritten_by) == ("", ("default/r", 0))


def test_what_is_made_of_a_name_is_not_rewritten_again() -> None:
    """One rule decides; there are no chains and no circles."""
    found = rewrites(an_object((("a",), {"b": 1}), (("b",), {"a": 1})))
    assert (target(found, chat("a")), target(found, chat("b"))) == ("b", "a")


def test_a_header_counts_where_no_rule_does() -> None:
    """The newer name wins; a rule that fits wins over both (upstream's H14)."""
    new, old = "x_llm_d_model_name_rewrite", "x_gateway_model_name_rewrite"
    found = rewrites(an_object((("m",), {"by-rule": 1}), (("kept",), None)))
    assert target(None, chat(**{old: "old"})) == "old"
    assert target(None, chat(**{old: "old", new: "new"})) == "new"
    assert target(found, chat(**{new: "new"})) == "by-rule"
    assert target(found, chat("kept", **{new: "new"})) == "new"
    assert rewritten(chat(**{new: "new"}), None).rewritten_by is None


def test_a_body_whose_name_cannot_be_replaced_is_for_the_model_it_names() -> None:
    """No model, or one that stands elsewhere; the request stays the same object."""
    found = rewrites(an_object(((), {"t": 1})))
    for request in (
        Request(Head("/v1/models", "GET", {})),
        msgspec.structs.replace(chat(), model_value=None),
    ):
        assert rewritten(request, found) is request


def test_the_prefix_is_looked_up_under_the_targets_name() -> None:
    """An engine keeps the blocks of each adapter apart; the cache salt stays."""
    body = b'{"model": "m", "messages": [{}], "cache_salt": "s"}'
    request = read(Head("/v1/chat/completions", "POST", {}), body)
    assert rewritten(request, rewrites(an_object((("m",), {"adapter": 1})))).seed == b"adapter\0s"
    assert request.model == "m"


@pytest.mark.parametrize(
    "weights",
    [{"a": 70, "b": 30}, {"a": None, "b": None}, {"a": 1_000_000, "b": 1}, {"a": 3, "b": 2, "c": 1}],
)
@pytest.mark.parametrize("sticky", ["", "header:x-user"])
def test_shares_are_those_of_the_weights(weights: dict[str, int | None], sticky: str) -> None:
    """Within five standard deviations of the binomial, drawn or by hash."""
    found, total, count = rewrites(an_object((("m",), weights), sticky=sticky)), 4000, Counter[str]()
    for number in range(total):
        count[target(found, chat(x_user=f"user {number}"))] += 1
    whole = sum(weight or 1 for weight in weights.values())
    for name, weight in weights.items():
        share = (weight or 1) / whole
        assert abs(count[name] - total * share) <= 5 * (total * share * (1 - share)) ** 0.5


def test_sums_of_weights_do_not_overflow() -> None:
    """More than 32 bits of them."""
    names = {f"t{number}": 1_000_000 for number in range(5000)}
    seen = {target(rewrites(an_object((("m",), names)), seed=seed), chat()) for seed in range(50)}
    assert len(seen) > 40


def test_a_target_that_is_written_twice_has_both_shares() -> None:
    """By hash as by chance."""
    targets = (
        Target(model_rewrite="a", weight=1),
        Target(model_rewrite="b", weight=2),
        Target(model_rewrite="a", weight=1),
    )
    for sticky in ("", "header:x-user"):
        made = an_object(sticky=sticky)
        rule = RewriteRule(targets=targets)
        found = rewrites(
            msgspec.structs.replace(made, spec=RewriteSpec(pool_ref=PoolRef(name="p"), rules=(rule,)))
        )
        count = Counter(target(found, chat(x_user=str(number))) for number in range(2000))
        assert abs(count["a"] - 1000) < 112


weighted = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1_000_000), min_size=2)


@given(weighted, st.text(alphabet="abc123", min_size=1))
def test_what_sticks_sticks_whatever_the_order_and_the_seed(weights: dict[str, int], user: str) -> None:
    """So replicas agree, and a restart changes nothing."""
    request = chat(x_user=user)
    one = rewrites(an_object((("m",), weights), sticky="header:X-User"), seed=1)
    two = rewrites(an_object((("m",), dict(reversed(weights.items()))), sticky="header:x-user"), seed=2)
    assert target(one, request) == target(one, request) == target(two, request)


@settings(max_examples=30)
@given(weighted, st.data())
def test_a_weight_that_is_raised_moves_keys_to_its_target_only(
    weights: dict[str, int], data: st.DataObject
) -> None:
    """Nobody else changes sides; lowering it again brings back the same ones."""
    grown = data.draw(st.sampled_from(sorted(weights)))
    more = {**weights, grown: weights[grown] + data.draw(st.integers(1, 1_000_000))}
    before = rewrites(an_object((("m",), weights), sticky="header:x-user"))
    after = rewrites(an_object((("m",), more), sticky="header:x-user"))
    for number in range(50):
        request = chat(x_user=str(number))
        old, new = target(before, request), target(after, request)
        assert new in (old, grown)


def test_from_90_10_to_80_20_one_in_ten_changes_sides() -> None:
    """From the first to the second, and nobody back."""

    def to(first: int, second: int) -> Rewrites:
        return rewrites(an_object((("m",), {"v1": first, "v2": second}), sticky="header:x-user"))

    moves = Counter(
        (target(to(90, 10), request), target(to(80, 20), request))
        for request in (chat(x_user=str(number)) for number in range(4000))
    )
    assert moves["v2", "v1"] == 0
    assert abs(moves["v1", "v2"] - 400) < 5 * (4000 * 0.1 * 0.9) ** 0.5


def test_two_rollouts_split_the_same_users_independently() -> None:
    """Else the ten percent of every rollout would be the same people."""
    one = rewrites(an_object((("m",), {"a": 1, "b": 1}), sticky="header:x-user", name="one"))
    two = rewrites(an_object((("m",), {"a": 1, "b": 1}), sticky="header:x-user", name="two"))
    pairs = Counter(
        (target(one, request), target(two, request))
        for request in (chat(x_user=str(number)) for number in range(2000))
    )
    assert min(pairs[pair] for pair in ("aa", "ab", "ba", "bb") for pair in [(pair[0], pair[1])]) > 400


def test_requests_with_nothing_in_common_are_drawn() -> None:
    """One without the header is not like another one without it."""
    found = rewrites(an_object((("m",), {"a": 1, "b": 1}), sticky="header:x-user"))
    assert len({target(found, chat()) for _ in range(50)}) == 2


def test_rules_that_never_decide_are_known() -> None:
    """All their names are taken, or another rule fits all."""
    found = rewrites(
        an_object(
            (("a",), {"x": 1}), (("a",), {"y": 1}), (("a", "b"), {"z": 1}), ((), {"g": 1}), ((), {"h": 1})
        )
    )
    assert [rule.of for rule in found.hidden] == [("default/r", 1), ("default/r", 4)]
