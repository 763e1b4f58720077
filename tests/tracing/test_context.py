"""Which requests have a trace, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.tracing.context import Parent, Sampler, parent, sampler, traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", Parent(TRACE, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", Parent(TRACE, sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", Parent(TRACE, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", Parent(TRACE, sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-what-is-not", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        ("00-" + "é" * 50, None),
    ],
)
def test_the_callers_header_is_read_as_w3c_has_it(header: str, expected: Parent | None) -> None:
    """What cannot be read is as if it were not there."""
    assert parent({"traceparent": header}) == expected


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.booleans())
def test_what_we_say_we_can_read(trace_id: int, span_id: int, sampled: bool) -> None:
    """Any trace."""
    assert parent({"traceparent": traceparent(trace_id, span_id, sampled=sampled)}) == Parent(
        f"{trace_id:032x}", sampled
    )


def test_a_caller_has_chosen_already() -> None:
    """Unless we are told not to mind."""
    for sampled in (True, False):
        caller = Parent(TRACE, sampled)
        assert Sampler(0.0).wants(caller, lambda: 0.0) is sampled
        assert Sampler(1.0).wants(caller, lambda: 1.0) is sampled
        assert Sampler(1.0, follows_parent=False).wants(caller, lambda: 1.0)
        assert not Sampler(0.0, follows_parent=False).wants(caller, lambda: 0.0)


def test_of_those_without_a_caller_a_share_is_drawn() -> None:
    """All of them at 1 and none at 0, whatever is drawn."""
    assert Sampler(0.25).wants(None, lambda: 0.2)
    assert not Sampler(0.25).wants(None, lambda: 0.25)
    assert Sampler(1.0).wants(None, lambda: 0.999999)
    assert not Sampler(0.0).wants(None, lambda: 0.0)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Sampler(0.01)),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, Sampler(0.5)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Sampler(1.0, follows_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampler(0.0)),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"},
            Sampler(1.0, follows_parent=False),
        ),
    ],
)
def test_the_sampler_is_the_one_that_opentelemetrys_variables_name(
    variables: dict[str, str], expected: Sampler
) -> None:
    """With upstream's default."""
    assert sampler(variables) == expected


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "there is no sampler `jaeger_remote`"),
        ({"OTEL_TRACES_SAMPLER_ARG": "10%"}, "`10%` is no share of requests"),
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "0 to 1"),
    ],
)
def test_a_variable_that_cannot_be_used_is_an_error(variables: dict[str, str], words: str) -> None:
    """Not a surprise in the bill."""
    with pytest.raises(ConfigError, match=words):
        sampler(variables)
