"""What a request asks for by its headers."""

from __future__ import annotations

import pytest

from igw.request import Head, Request
from igw.routing.objectives import asked

PRIORITIES = {"interactive": 10, "batch": -1}


def with_headers(**headers: str) -> Request:
    """Return what a request with these headers asks for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked(Request(Head("/", "POST", named)), PRIORITIES)


def test_an_objective_gives_its_priority() -> None:
    """By either name of the header, the newer one first."""
    assert with_headers(x_llm_d_inference_objective="batch").priority == -1
    assert with_headers(x_gateway_inference_objective="interactive").priority == 10
    both = with_headers(x_llm_d_inference_objective="batch", x_gateway_inference_objective="interactive")
    assert (both.objective, both.priority) == ("batch", -1)


@pytest.mark.parametrize(
    "headers", [{}, {"x_llm_d_inference_objective": "unknown"}, {"x_llm_d_inference_objective": ""}]
)
def test_no_objective_and_one_that_is_not_there_are_priority_0(headers: dict[str, str]) -> None:
    """A typing error must not shed a request, nor prefer it."""
    assert with_headers(**headers).priority == 0


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250", 0.25),
        (" 1e3 ", 1.0),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_milliseconds_or_nothing(written: str, seconds: float | None) -> None:
    """A wish that cannot be read is none; the request is served all the same."""
    for new, old in (("x_llm_d_slo_ttft_ms", "x_slo_ttft_ms"), ("x_llm_d_slo_tpot_ms", "x_slo_tpot_ms")):
        for name in (new, old):
            found = with_headers(**{name: written})
            which = found.ttft_objective_seconds if "ttft" in name else found.tpot_objective_seconds
            assert which == seconds


@pytest.mark.parametrize(
    ("prefer", "conditional"),
    [
        ("if-available", True), ("respond-async, If-Available;x=1", True), (" if-available ; wait=10", True),
        ("if-available=1", False), ("not-if-available", False), ("respond-async", False), ("", False),
    ],
)  # fmt: skip
def test_a_preference_is_one_of_a_list(prefer: str, conditional: bool) -> None:
    """RFC 7240, parameters ignored, in any case of letters."""
    assert with_headers(prefer=prefer).conditional is conditional
