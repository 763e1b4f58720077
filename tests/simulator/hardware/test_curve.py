"""Lines through measured points."""

from __future__ import annotations

import pytest

from igw.simulator.hardware.curve import Curve


def test_a_curve_is_level_before_its_points_and_goes_on_after_them() -> None:
    """Straight between them."""
    curve = Curve((2, 4, 8), (1.0, 3.0, 5.0))
    assert [curve.at(count) for count in (0, 2, 3, 4, 6, 8, 10)] == [1, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("counts", "values"), [((1,), (1.0,)), ((1, 2), (1.0,)), ((1, 1), (1.0, 2.0)), ((2, 1), (1.0, 2.0))]
)
def test_points_that_make_no_curve_are_refused(counts: tuple[int, ...], values: tuple[float, ...]) -> None:
    """Too few, unequal, not rising."""
    with pytest.raises(ValueError, match="curve"):
        Curve(counts, values)
