"""Ceilings per band, by upstream's formulas."""

from __future__ import annotations

import pytest

from igw.config.decode import decode
from igw.config.documents import Document
from igw.errors import ConfigError
from igw.flow.limits.priority_holdback import PriorityHoldback
from igw.flow.limits.soft_reflective import SoftReflectiveCeiling
from igw.flow.limits.static import StaticLimit


def test_one_for_all() -> None:
    """Whatever the saturation."""
    assert StaticLimit(0.5).ceilings([9, 0], 0.7, 1) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("domain", "priorities", "ceilings"),
    [
        ("rank", [10, 1, 0], [1.0, 0.75, 0.5]),
        ("value", [10, 1, 0], [1.0, 0.55, 0.5]),
        ("rank", [3], [1.0]),
        ("value", [], []),
    ],
)
def test_holdback_falls_from_the_highest_to_the_lowest(
    domain: str, priorities: list[int], ceilings: list[float]
) -> None:
    """By place or by number."""
    limit = PriorityHoldback(0.5, domain=domain)  # type: ignore[arg-type]
    assert limit.ceilings(priorities, 0.0, 0) == pytest.approx(ceilings)


def test_a_lowest_ceiling_above_the_highest_is_an_error() -> None:
    """Told with the place in the file."""
    with pytest.raises(ConfigError, match="minCeiling 2"):
        decode(Document("here", "", "", "", "", {"minCeiling": 2}), PriorityHoldback)


def test_soft_ceilings_reflect_saturation() -> None:
    """And let everybody through in every so many turns: at 0.75 in every third."""
    limit = SoftReflectiveCeiling()
    assert limit.ceilings([2, 1, 0], 0.75, 1) == [1.0, 0.625, 0.25]
    assert limit.ceilings([2, 1, 0], 0.75, 3) == [1.0, 1.0, 1.0]
    assert limit.ceilings([2, 1, 0], 0.25, 0) == [1.0, 0.875, 0.75]
    assert limit.ceilings([2, 1], 1.5, 0) == [1.0, -0.5]
    assert limit.ceilings([2], 0.75, 1) == [1.0]
