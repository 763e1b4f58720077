"""Spans of time as flags take them."""

from __future__ import annotations

import pytest

from igw.cli.spans import seconds


@pytest.mark.parametrize(
    ("written", "meant"),
    [("30", 30.0), ("0.05", 0.05), (30.0, 30.0), ("50ms", 0.05), ("1m30s", 90.0), ("1.5s", 1.5), ("0", 0.0)],
)
def test_seconds_and_go_durations_are_read(written: object, meant: float) -> None:
    """A default comes as the number that it is."""
    assert seconds()(written) == pytest.approx(meant)


@pytest.mark.parametrize("written", ["", "5 s", "s", "-1", "nan", "inf", "1d", "-1s"])
def test_what_is_no_span_is_refused(written: str) -> None:
    """Typer makes a sentence of it."""
    with pytest.raises(ValueError, match="is not"):
        seconds()(written)


def test_less_than_the_least_is_refused() -> None:
    """With the bound."""
    with pytest.raises(ValueError, match=r"'5ms' is not in the range of 0\.01 seconds and more"):
        seconds(least=0.01)("5ms")
