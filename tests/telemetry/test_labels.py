"""Labels of requests: what always has its own, what shares `other`, and who is told of names that are gone."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from igw.request import Head, Request
from igw.telemetry.families import Families
from igw.telemetry.labels import DEFAULT_FLOW, RequestLabels

HEAD = Head("/", "POST", {})


def request(model: str = "m", flow: str = "", target: str = "", priority: int = 0) -> Request:
    """Return a request as clients write them."""
    return Request(HEAD, model=model, fairness_id=flow, target_model=target, priority=priority)


def crowded(most: int = 8) -> tuple[RequestLabels, list[Mapping[str, str]]]:
    """Return labels without a free place, and what is told of those that lose theirs."""
    told: list[Mapping[str, str]] = []
    labels = RequestLabels(told.append, most)
    for number in range(2 * most):
        for _ in range(5):
            each = request(f"taken-{number}", f"flow-{number}")
            labels.of(each)
            labels.answered(each)
    return labels, told


def test_a_first_request_has_its_names() -> None:
    """As long as there is room: nobody waits for an answer to see his model."""
    labels = RequestLabels(lambda _: None)
    assert labels.of(request("llama", "team", "tuned", -1)) == ("llama", "tuned", "team", "-1")
    assert labels.of(request()) == ("m", "m", DEFAULT_FLOW, "0")
    assert labels.pair(request("llama", target="tuned")) == ("llama", "tuned")
    assert labels.flow("team") == "team"


@given(st.lists(st.text("abc", min_size=1, max_size=5), max_size=60))
def test_known_models_have_their_names_whatever_clients_invent(invented: list[str]) -> None:
    """Before, between and after."""
    labels = RequestLabels(lambda _: None, 4)
    labels.know("configuration", ["llama"])
    for name in invented:
        labels.of(request(name, name))
        labels.answered(request(name, name))
        assert labels.of(request("llama")) == ("llama", "llama", DEFAULT_FLOW, "0")
        assert labels.pair(request("llama")) == ("llama", "llama")


def test_a_known_model_keeps_its_name_where_its_tenant_has_none() -> None:
    """What is known is not given up for what is not."""
    labels, _ = crowded()
    labels.know("servers", ["llama"])
    assert labels.of(request("llama", "nobody")) == ("llama", "llama", "other", "0")
    assert labels.of(request("invented", "nobody")) == ("other", "other", "other", "0")
    assert labels.of(request("invented", priority=3)) == ("other", "other", DEFAULT_FLOW, "3")


def test_pairs_that_no_rule_makes_are_not_the_configurations() -> None:
    """A header may ask for any target: a hundred known models would make ten thousand pairs."""
    labels, _ = crowded()
    labels.know("configuration", ["a", "b"])
    assert labels.of(request("a", target="b"))[:2] == ("other", "other")
    ruled = Request(HEAD, model="a", target_model="b", rewritten_by=("ns/r", 0))
    assert labels.of(ruled)[:2] == ("a", "b")


def test_who_answers_more_takes_a_place_and_the_series_of_the_other_go() -> None:
    """Children and series are told by their labels."""
    labels, told = crowded()
    for _ in range(6):
        labels.answered(request("real", "tenant"))
    assert labels.of(request("real", "tenant")) == ("real", "real", "tenant", "0")
    assert len([each for each in told if len(each) == 4]) == 1


def test_models_that_nobody_names_any_more_are_forgotten() -> None:
    """An edit of the configuration takes them away, unless the servers name them too."""
    told: list[Mapping[str, str]] = []
    labels = RequestLabels(told.append)
    labels.know("configuration", ["old", "kept"])
    labels.know("servers", ["kept"])
    labels.of(request("old"))
    labels.of(request("kept"))
    labels.know("configuration", [])
    assert {"model_name": "old"} in told
    assert not [each for each in told if "kept" in each.values()]


def test_a_target_that_goes_takes_no_series_of_the_model_that_stays() -> None:
    """As when a rollout is taken back: what counts by the model alone counts on."""
    told: list[Mapping[str, str]] = []
    labels = RequestLabels(told.append)
    labels.know("configuration", ["review", "v1", "v2"])
    labels.of(msgspec.structs.replace(request("review", target="v2"), rewritten_by=("default/rollout", 0)))
    labels.know("configuration", ["review", "v1"])
    assert {"target_model_name": "v2"} in told
    assert {"model_name": "review"} not in told


def test_the_page_does_not_grow_with_names() -> None:
    """Ten thousand tenants, each answered once, and a real one among them: so many series, and its own."""
    families = Families()
    labels = families.request_labels
    real = request("llama", "real")
    for number in range(10_000):
        each = request(f"m{number}", f"t{number}")
        families.request_total.labels(*labels.of(each)).inc()
        labels.answered(each)
        if number % 100 == 0:
            families.request_total.labels(*labels.of(real)).inc()
            labels.answered(real)
    (family,) = (each for each in families.registry.collect() if each.name == "llm_d_epp_request")
    assert len(family.samples) <= 2_001
    named = {"model_name": "llama", "target_model_name": "llama", "fairness_id": "real", "priority": "0"}
    assert families.registry.get_sample_value("llm_d_epp_request_total", named) == 100
