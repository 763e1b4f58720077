"""Request metrics: what each outcome writes, read from the registry."""

from __future__ import annotations

import msgspec
import pytest

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import BadRequest, NoEndpoints
from igw.outcomes.health import Ejection, Failure
from igw.outcomes.observed import Ejections, RequestMetrics
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Head, Request
from igw.telemetry.families import Families

LABELS = {"model_name": "m", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
PROMPT_BYTES = 40_000
PREFIX = {"plugin_name": "approx-prefix-cache-producer", "plugin_type": "approx-prefix-cache-producer"}


def test_an_ejection_is_counted_by_its_reason_and_the_gauge_says_who_is_out() -> None:
    """Until its time is over; returning is not being ejected."""
    families, now = Families(), 100.0
    pool = Pool("p", "default", (Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000)))
    columns = Columns(pool, lambda _hostport: 0)
    ejections = Ejections(families, lambda: [columns], lambda: now)
    families.collect_with(ejections.collect)
    columns.eject("10.0.0.1:8000", 130.0)
    ejections(Ejection("default/p", "10.0.0.1:8000", Failure.RESET, 5, 1.0, 30.0))

    def value(name: str, /, **labels: str) -> float | None:
        return families.registry.get_sample_value(name, labels)

    assert value("igw_endpoint_ejections_total", reason="reset") == 1
    assert value("igw_endpoints_ejected", name="default/p") == 1
    now = 130.0
    assert value("igw_endpoints_ejected", name="default/p") == 0


class Page:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.families = Families()
        self.requests = RequestMetrics(self.families)

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return one sample of the request families."""
        return self.families.registry.get_sample_value(f"llm_d_epp_{name}", LABELS | labels)


def decision(
    stream: bool = False, fairness_id: str = "", model: str = "m", blocks: int = 0, matched_tokens: int = 0
) -> Decision:
    """Return a decision on a request of 1,000 bytes."""
    request = Request(
        Head("/", "POST", {}),
        model=model,
        stream=stream,
        body_bytes=1000,
        fairness_id=fairness_id,
        prompt_bytes=PROMPT_BYTES if blocks else 0,
    )
    return Decision(
        1, request, (Endpoint.at("10.0.0.1", 8000),), blocks=range(blocks), matched_tokens=matched_tokens
    )


def test_a_pick_is_counted_with_its_size() -> None:
    """Once per pick, by model and flow."""
    page = Page()
    page.requests.decided(decision())
    page.requests.decided(decision())
    page.requests.decided(decision(fairness_id="team"))
    assert page.value("request_total") == 2
    assert page.value("request_total", fairness_id="team") == 1
    assert page.value("request_size_bytes_sum") == 2000


def test_the_hit_ratio_is_of_prompts_that_have_blocks() -> None:
    """By tokens, because blocks grow with depth; a prompt of less than one block could not have hit."""
    page = Page()
    page.requests.decided(decision(blocks=80, matched_tokens=6144))  # 64 blocks of 64 tokens, 16 of 256
    page.requests.decided(decision(blocks=0))
    registry = page.families.registry
    assert registry.get_sample_value("llm_d_epp_prefix_indexer_hit_ratio_count", PREFIX) == 1
    assert registry.get_sample_value("llm_d_epp_prefix_indexer_hit_ratio_sum", PREFIX) == 0.75
    assert registry.get_sample_value("llm_d_epp_prefix_indexer_hit_bytes_sum", PREFIX) == 4 * 6144


def test_picks_are_counted_by_what_was_known_of_the_prompt() -> None:
    """Those without a prompt have nothing to be known of; an exact match may go beyond the last whole block."""
    page = Page()
    prompt = msgspec.structs.replace(decision().request, prompt_bytes=300)
    for by in ("exact", "exact", "speculative", "approximate", ""):
        made = decision(blocks=1, matched_tokens=70 if by else 0)
        page.requests.decided(msgspec.structs.replace(made, request=prompt, matched_by=by))
    page.requests.decided(decision())
    registry = page.families.registry
    counted = {
        by: registry.get_sample_value("igw_prefix_matches_total", {"matched_by": by})
        for by in ("exact", "speculative", "approximate", "none")
    }
    assert counted == {"exact": 2, "speculative": 1, "approximate": 1, "none": 1}
    assert registry.get_sample_value("llm_d_epp_prefix_indexer_hit_ratio_sum", PREFIX) == 4.0


def test_a_whole_stream_writes_every_family() -> None:
    """Times per token are derived: 2.5 s, first byte after 0.5 s, 11 tokens."""
    page = Page()
    page.requests(
        decision(stream=True),
        Outcome(
            End.COMPLETE,
            200,
            ttft_seconds=0.5,
            duration_seconds=2.5,
            response_bytes=4096,
            usage=Usage(204, 11, 192),
        ),
    )
    assert page.value("request_duration_seconds_sum") == 2.5
    assert page.value("request_ttft_seconds_sum", streaming="true") == 0.5
    assert page.value("request_ttft_seconds_count", streaming="false") == 0
    assert page.value("request_ntpot_seconds_sum") == pytest.approx(2.5 / 11)
    assert page.value("request_streaming_tpot_seconds_sum") == pytest.approx(0.2)
    assert page.value("response_size_bytes_sum") == 4096
    assert page.value("request_input_tokens_sum") == 204
    assert page.value("request_output_tokens_sum") == 11
    assert page.value("request_cached_tokens_sum") == 192
    assert page.value("request_error_total", error_code="ModelServerError") is None


def test_a_buffered_answer_has_no_time_per_token() -> None:
    """Its first byte comes with its last."""
    page = Page()
    page.requests(
        decision(), Outcome(End.COMPLETE, 200, ttft_seconds=2, duration_seconds=2, usage=Usage(5, 4))
    )
    assert page.value("request_ttft_seconds_sum", streaming="false") == 2
    assert page.value("request_ntpot_seconds_sum") == 0.5
    assert page.value("request_streaming_tpot_seconds_count") == 0


@pytest.mark.parametrize("tokens", [None, 0, 1])
def test_one_token_is_no_pace(tokens: int | None) -> None:
    """Nothing is divided by zero."""
    page = Page()
    page.requests(
        decision(stream=True),
        Outcome(End.COMPLETE, 200, ttft_seconds=1, duration_seconds=1, usage=Usage(completion_tokens=tokens)),
    )
    assert page.value("request_streaming_tpot_seconds_count") == 0
    assert page.value("request_ntpot_seconds_count") == (1 if tokens else 0)
    assert page.value("request_duration_seconds_count") == 1


def test_what_is_not_known_is_not_observed() -> None:
    """No sample rather than a zero."""
    page = Page()
    page.requests(decision(), Outcome(End.COMPLETE, 200))
    for name in (
        "request_duration_seconds",
        "response_size_bytes",
        "request_input_tokens",
        "request_cached_tokens",
    ):
        assert page.value(f"{name}_count") == 0


@pytest.mark.parametrize(
    ("outcome", "errors", "durations"),
    [
        (Outcome(End.COMPLETE, 200, duration_seconds=1), None, 1),
        (Outcome(End.COMPLETE, 500, duration_seconds=1), 1, 1),
        (Outcome(End.COMPLETE, 404, duration_seconds=1), 1, 1),
        (Outcome(End.FAILED, 0, duration_seconds=1), 1, 0),
        (Outcome(End.FAILED, 503, duration_seconds=1), 1, 0),
        (Outcome(End.ABORTED, 200, duration_seconds=1), None, 0),
        (Outcome(End.UNKNOWN), None, 0),
    ],
)
def test_errors_are_counted_and_only_whole_answers_are_measured(
    outcome: Outcome, errors: float | None, durations: float
) -> None:
    """A client that gives up makes neither an error nor a short duration."""
    page = Page()
    page.requests(decision(), outcome)
    assert page.value("request_error_total", error_code="ModelServerError") == errors
    assert (page.value("request_duration_seconds_count") or 0) == durations


def test_a_refused_request_is_counted_by_its_code() -> None:
    """With the labels it has, or none if it could not be read; it is no request that was given an endpoint."""
    page = Page()
    page.requests.refused(decision().request, NoEndpoints("none"))
    page.requests.refused(None, BadRequest("what?"))
    assert page.value("request_error_total", error_code="ServiceUnavailable") == 1
    assert (
        page.value("request_error_total", error_code="BadRequest", model_name="", target_model_name="") == 1
    )
    assert not page.value("request_total")


def test_invented_models_do_not_grow_the_page() -> None:
    """Beyond so many of them they share one series; one that is answered has its own."""
    page = Page()
    for number in range(3_000):
        page.requests.decided(decision(model=f"m{number}"))
    other = {"model_name": "other", "target_model_name": "other"}
    assert page.value("request_total", **other) == 2_500
    assert page.value("request_total", model_name="m5", target_model_name="m5") == 1
    real = decision(model="real")
    page.requests(real, Outcome(End.COMPLETE, 200))
    page.requests.decided(real)
    assert page.value("request_total", model_name="real", target_model_name="real") == 1


def test_a_tenant_that_lost_its_place_and_comes_back_is_counted_again() -> None:
    """Its series were dropped; nothing is written into those."""
    page = Page()
    page.requests.decided(decision(model="m"))
    labels = page.families.request_labels
    labels._tell(
        {"model_name": "m", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
    )
    assert page.value("request_total") is None
    page.requests.decided(decision(model="m"))
    assert page.value("request_total") == 1


def test_pieces_of_a_stream_are_timed() -> None:
    """Where they pass through."""
    page = Page()
    page.requests.piece(decision(stream=True), 0.02)
    assert page.value("request_streaming_itl_seconds_sum") == 0.02


def test_expected_first_tokens_are_compared_with_actual_ones() -> None:
    """Of streams that the pick had an expectation for."""
    page = Page()
    outcome = Outcome(End.COMPLETE, 200, ttft_seconds=0.3, duration_seconds=1.0)
    for expected, stream in ((0.2, True), (0.0, True), (0.2, False)):
        sent = msgspec.structs.replace(decision(stream=stream), expected_ttft_seconds=expected)
        page.requests(sent, outcome)
    value = page.families.registry.get_sample_value
    assert value("igw_ttft_actual_to_expected_count") == 1
    assert value("igw_ttft_actual_to_expected_sum") == pytest.approx(1.5)


def test_the_labels_tell_the_clients_name_from_the_targets() -> None:
    """And the objective's priority."""
    page = Page()
    asked = msgspec.structs.replace(decision(model="front").request, target_model="adapter", priority=-1)
    page.requests.decided(msgspec.structs.replace(decision(), request=asked))
    labels = {"model_name": "front", "target_model_name": "adapter", "priority": "-1"}
    assert page.value("request_total", **labels) == 1
    assert page.value("request_total") is None
