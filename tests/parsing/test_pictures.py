"""The work of pictures, in megapixels times steps."""

from __future__ import annotations

import pytest

from igw.parsing.pictures import work


@pytest.mark.parametrize(
    ("size", "steps", "number", "units"),
    [
        (None, None, None, 1.048576 * 28),
        ("1024x1024", 28, 1, 1.048576 * 28),
        ("1000x2000", 4, 2, 16.0),
        (" 1000 X 2000 ", 1, 1, 2.0),
        ("1000*2000", 1, 1, 2.0),
        ("auto", 1, 1, 1.048576),
        ("2K", 0, 0, 1.048576 * 28),
        ("1x-1", 1, 1, 1.048576),
        ("9999999x1", 1, 1, 1.048576),
        ("1000x1000", 10**400, 10**400, 1e8),
    ],
)
def test_what_is_not_said_has_a_default(
    size: str | None, steps: int | None, number: int | None, units: float
) -> None:
    """So has a size that is no two numbers: the model server will say what it thinks of it."""
    made = work(size, steps, number)
    assert made.kind == "image"
    assert made.units == pytest.approx(units)


def test_a_size_that_is_left_open_may_be_that_of_the_picture_it_is_made_from() -> None:
    """For edits."""
    assert work("auto", 1, 1, (100, 200)).units == pytest.approx(0.02)
    assert work("1000x1000", 1, 1, (100, 200)).units == pytest.approx(1.0)
