"""Routing measured from outside: a timed route, and gauges that read the columns."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from prometheus_client import generate_latest

from igw.decision import NO_RESERVATION, Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.facts import Adapters
from igw.outcomes.ledger import Ledger
from igw.outcomes.observed import RequestMetrics
from igw.outcomes.outcome import End, Outcome
from igw.prefix.index import PrefixIndex
from igw.request import Generation, Head, Request
from igw.routing.observed import Picks, State, observed
from igw.routing.pools import Pools
from igw.telemetry.families import Families
from igw.work.promises import Answer

A, B, C = (Endpoint.at(f"10.0.0.{last}", 8000, f"pod-{last}", "serving") for last in (1, 2, 3))
HEAD = Head("/", "POST", {})
REQUEST = Request(HEAD, model="m")


async def test_a_pick_is_timed_and_counted_with_its_endpoint() -> None:
    """The decision is handed on as it is."""
    families, ticks = Families(), itertools.count()
    decision = Decision(1, REQUEST, (A,))

    async def route(request: Request) -> Decision:
        assert request is REQUEST
        return decision

    timed = observed(route, families, Picks(families, RequestMetrics(families)), lambda: next(ticks) / 1000)
    assert await timed(REQUEST) is decision
    value = families.registry.get_sample_value
    assert value("llm_d_epp_scheduler_e2e_duration_seconds_sum") == pytest.approx(0.001)
    assert value("llm_d_epp_scheduler_e2e_duration_seconds_count") == 1
    labels = {"target_model_name": "m", "endpoint_name": "pod-1", "namespace": "serving", "port": "8000"}
    assert value("llm_d_epp_scheduler_attempts_total", {"status": "success", **labels}) == 1
    request = {"model_name": "m", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
    assert value("llm_d_epp_request_total", request) == 1


@pytest.mark.parametrize(
    ("by", "labels"), [(("ns/r", 2), ("ns/r", "2")), (None, ("", ""))], ids=["a rule", "a header"]
)
async def test_who_chose_another_model_is_counted(
    by: tuple[str, int] | None, labels: tuple[str, str]
) -> None:
    """By object and rule; under the target's name where the pick is counted."""
    families = Families()

    async def route(request: Request) -> Decision:
        return Decision(1, msgspec.structs.replace(request, target_model="t", rewritten_by=by), (A,))

    await observed(route, families, Picks(families, RequestMetrics(families)), lambda: 0.0)(REQUEST)
    value = families.registry.get_sample_value
    named = dict(zip(("model_rewrite_name", "rule"), labels, strict=True))
    rewritten = {**named, "model_name": "m", "target_model": "t"}
    assert value("llm_d_epp_model_rewrite_decisions_total", rewritten) == 1
    picked = {"target_model_name": "t", "endpoint_name": "pod-1", "namespace": "serving", "port": "8000"}
    assert value("llm_d_epp_scheduler_attempts_total", {"status": "success", **picked}) == 1


async def test_a_rejected_request_is_counted_and_not_timed() -> None:
    """And stays rejected."""
    families = Families()

    async def route(_request: Request) -> Decision:
        raise NoEndpoints("none")

    timed = observed(route, families, Picks(families, RequestMetrics(families)), lambda: 0.0)
    with pytest.raises(NoEndpoints, match="none"):
        await timed(REQUEST)
    value = families.registry.get_sample_value
    labels = {"target_model_name": "m", "endpoint_name": "", "namespace": "", "port": ""}
    assert value("llm_d_epp_scheduler_attempts_total", {"status": "failure", **labels}) == 1
    assert value("llm_d_epp_scheduler_e2e_duration_seconds_count") == 0


class Serving:
    """Two pools, one of them empty, and the page that shows their state."""

    def __init__(self) -> None:
        self.prefix, self.ledger, self.families = PrefixIndex(), Ledger(60), Families()
        self.pools = Pools(self.prefix, self.ledger)
        self.pools.adopt({
            "serving/p": Pool("p", "serving", (A, B, C)),
            "serving/empty": Pool("empty", "serving", ()),
        })  # fmt: skip
        self.families.collect_with(
            State(self.pools, self.prefix, self.ledger, self.families.request_labels).collect
        )
        columns = self.pools.columns_of("serving/p")
        assert columns is not None
        self.columns = columns

    def value(self, family: str, /, **labels: str) -> float | None:
        """Return one sample."""
        return self.families.registry.get_sample_value(family, labels)


def test_gauges_show_the_columns_as_they_are_now() -> None:
    """Means and sample deviations of a pool, queue and load of each endpoint."""
    serving = Serving()
    for endpoint, waiting, usage in ((A, 0, 0.2), (B, 3, 0.4), (C, 6, 0.6)):
        serving.columns.report(endpoint.hostport, waiting, waiting + 1, usage)
    assert serving.value("llm_d_epp_average_queue_size", name="p") == 3
    assert serving.value("llm_d_epp_std_dev_queue_size", name="p") == 3
    assert serving.value("llm_d_epp_average_running_requests", name="p") == 4
    assert serving.value("llm_d_epp_average_kv_cache_utilization", name="p") == pytest.approx(0.4)
    assert serving.value("llm_d_epp_std_dev_kv_cache_utilization", name="p") == 0.2
    assert serving.value("llm_d_epp_per_endpoint_queue_size", name="p", model_server_endpoint="pod-2") == 3
    serving.columns.report(B.hostport, 30, 1, 0.4)
    assert serving.value("llm_d_epp_average_queue_size", name="p") == 12


def test_endpoints_are_ready_when_they_answer() -> None:
    """Neither those that never reported nor those that fail."""
    serving = Serving()
    assert serving.value("llm_d_epp_ready_endpoints", name="p") == 0
    serving.columns.report(A.hostport, 0, 0, 0)
    serving.columns.report(B.hostport, 0, 0, 0)
    assert serving.value("llm_d_epp_ready_endpoints", name="p") == 2
    serving.columns.fail(A.hostport)
    assert serving.value("llm_d_epp_ready_endpoints", name="p") == 1


def test_a_pool_of_none_has_no_endpoint_ready() -> None:
    """Scaled to zero is a zero on the page, not a gap that no alert sees."""
    assert Serving().value("llm_d_epp_ready_endpoints", name="empty") == 0


def test_open_reservations_are_shown_where_they_are() -> None:
    """In all, by endpoint and by model; gone when they end."""
    serving = Serving()
    for number, (endpoint, model) in enumerate([(A, "m"), (A, "n"), (B, "m")]):
        serving.ledger.open(Decision(number, Request(HEAD, model=model), (endpoint,)), serving.columns)
    serving.ledger.close(2, Outcome(End.COMPLETE, 200))
    labels = {"fairness_id": "default-flow", "priority": "0"}
    assert serving.value("igw_reservations_open") == 2
    assert serving.value("igw_inflight_requests", name="p", endpoint=A.hostport) == 2
    assert serving.value("igw_inflight_requests", name="p", endpoint=B.hostport) == 0
    running = "llm_d_epp_request_running"
    assert serving.value(running, model_name="m", target_model_name="m", **labels) == 1
    assert serving.value(running, model_name="n", target_model_name="n", **labels) == 1
    at = {
        "endpoint_name": "pod-1",
        "namespace": "serving",
        "producer_name": "inflight-load-producer",
        **labels,
    }
    assert serving.value("llm_d_epp_inflight_requests", **at) == 2
    assert serving.value("llm_d_epp_inflight_tokens", **at) == 0


def test_models_that_engines_name_have_their_names() -> None:
    """Once the page was asked for: base models, and adapters in use."""
    serving = Serving()
    serving.columns.report_adapters(A.hostport, Adapters(frozenset(("tuned",)), model="base"))
    generate_latest(serving.families.registry)
    labels = serving.families.request_labels
    for number in range(5_000):
        labels.of(Request(HEAD, model=f"m{number}"))
    assert labels.of(Request(HEAD, model="base"))[0] == "base"
    assert labels.of(Request(HEAD, model="tuned"))[0] == "tuned"
    assert labels.of(Request(HEAD, model="invented"))[0] == "other"


def test_series_of_endpoints_that_left_go() -> None:
    """Pods come and go with new names."""
    families = Families()
    picks = Picks(families, RequestMetrics(families))
    picks.serve((A, B))
    for number, endpoint in enumerate((A, B)):
        picks.made(Decision(number + 1, REQUEST, (endpoint,)))
    picks.serve((B,))
    page = generate_latest(families.registry).decode()
    assert 'endpoint_name="pod-1"' not in page
    assert 'endpoint_name="pod-2"' in page


def test_the_size_of_the_index_is_shown() -> None:
    """Different blocks, not copies."""
    serving = Serving()
    for endpoint in (A, B):
        serving.prefix.record(serving.prefix.slot(endpoint.hostport), range(7))
    name = "approx-prefix-cache-producer"
    assert serving.value("llm_d_epp_prefix_indexer_size", plugin_name=name, plugin_type=name) == 7


def test_pools_of_none_or_one_can_be_shown() -> None:
    """No mean of nothing, no deviation of one, no warning on the way."""
    serving = Serving()
    serving.pools.adopt(
        {"serving/p": Pool("p", "serving", (A,)), "serving/empty": Pool("empty", "serving", ())}
    )
    assert b'llm_d_epp_std_dev_queue_size{name="p"} 0.0' in generate_latest(serving.families.registry)
    assert serving.value("llm_d_epp_average_queue_size", name="empty") is None


def test_what_is_learned_of_work_is_shown() -> None:
    """Rates of the pool, factors and backlog of each endpoint; nothing before anything is learned."""
    serving = Serving()
    assert serving.value("igw_learned_seconds", name="p", of="per_token") is None
    promises = serving.pools.promises_of(serving.columns)
    slot = int(serving.columns.slots[0])
    promises.send(1, slot, 1000, 1000, 0.0)
    promises.end(1, 9.0, Answer(9.0, 100, 1.0))
    promises.send(2, slot, 1000, 1000, 10.0)
    rate = serving.value("igw_learned_seconds", name="p", of="per_token")
    assert rate is not None
    assert rate > 1e-4
    assert (serving.value("igw_backlog_seconds", name="p", endpoint=A.hostport) or 0) > 0.1
    assert serving.value("igw_backlog_seconds", name="p", endpoint=B.hostport) == 0
    assert (serving.value("igw_learned_factor", name="p", endpoint=A.hostport, phase="prefill") or 0) > 1
    assert serving.value("igw_learned_factor", name="p", endpoint=B.hostport, phase="decode") == 1


def test_what_is_learned_of_pictures_and_sound_is_shown() -> None:
    """By kind, beside what is known of text; what was promised is backlog."""
    serving = Serving()
    generating = serving.pools.promises_of(serving.columns).generating
    slot = int(serving.columns.slots[0])
    serving.pools.promises_of(serving.columns).follow(slot, A.hostport)
    generating.send(1, slot, Generation("image", 10.0), 0.0)
    generating.end(1, 5.0, 5.0)
    generating.send(2, slot, Generation("image", 20.0), 5.0)
    assert serving.value("igw_learned_seconds", name="p", of="image") == 0.5
    assert serving.value("igw_learned_seconds", name="p", of="per_token") is None
    assert serving.value("igw_backlog_seconds", name="p", endpoint=A.hostport) == pytest.approx(10.0)
    assert serving.value("igw_learned_factor", name="p", endpoint=A.hostport, phase="generate") == 1
    assert serving.value("igw_learned_factor", name="p", endpoint=A.hostport, phase="prefill") is None


async def test_a_request_that_is_sent_to_wait_is_counted_where_it_is_decided() -> None:
    """Not twice."""
    families = Families()

    async def route(request: Request) -> Decision:
        return Decision(NO_RESERVATION, request, (A,))

    timed = observed(route, families, Picks(families, RequestMetrics(families)), lambda: 0.0)
    assert (await timed(REQUEST)).id == NO_RESERVATION
    value = families.registry.get_sample_value
    assert value("llm_d_epp_scheduler_e2e_duration_seconds_count") == 0
    assert b"llm_d_epp_request_total{" not in generate_latest(families.registry)
