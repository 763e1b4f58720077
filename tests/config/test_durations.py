"""Durations of the Gateway API, and Go's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.config.durations import go_seconds, seconds


@pytest.mark.parametrize(
    ("written", "expected"), [("0s", 0), ("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("1h1ms", 3600.001)]
)
def test_every_unit_counts(written: str, expected: float) -> None:
    """Hours, minutes, seconds, milliseconds, and sums of them."""
    assert seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize("written", ["", "10", "1.5s", "-1s", "10 s", "1d", "999999s"])
def test_what_the_gateway_api_does_not_allow_is_refused(written: str) -> None:
    """GEP-2257 has no fractions, signs, days or more than five digits."""
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(written)


@given(st.integers(0, 99_999), st.integers(0, 99_999))
def test_parts_add_up(minutes: int, milliseconds: int) -> None:
    """The whole is the sum of its parts."""
    whole = seconds(f"{minutes}m{milliseconds}ms")
    assert whole == pytest.approx(seconds(f"{minutes}m") + seconds(f"{milliseconds}ms"))


@pytest.mark.parametrize(
    ("written", "expected"), [("0", 0), ("1.5s", 1.5), ("2m", 120), ("50ms", 0.05), ("1h0.5us", 3600.0000005)]
)
def test_go_has_fractions_and_smaller_units(written: str, expected: float) -> None:
    """As `time.ParseDuration` reads them."""
    assert go_seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize("written", ["", "10", "-1s", "10 s", "1d", ".s"])
def test_what_go_does_not_read_is_refused(written: str) -> None:
    """Signs too: no span of ours is negative."""
    with pytest.raises(ValueError, match="is not a duration"):
        go_seconds(written)
