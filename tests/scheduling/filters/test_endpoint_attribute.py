"""`endpoint-attribute-filter` by table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.scheduling.filters.endpoint_attribute import EndpointAttributeFilter
from tests.scheduling.candidates import facts, plugin, request


def filtering(operator: str, value: float, **parameters: Any) -> Any:
    """Return the filter on the attribute `depth`."""
    algorithm = {"type": "threshold", "threshold": {"operator": operator, "value": value}}
    return plugin(EndpointAttributeFilter, **{"attribute": "depth", "algorithm": algorithm} | parameters)


DEPTHS = facts(4, scalars={"depth": np.array([1.0, 2.0, 3.0, np.nan])}, waiting=[5, 0, 0, 0])


@pytest.mark.parametrize(
    ("operator", "kept"),
    [
        ("LessThan", [1, 0, 0, 1]),
        ("LessThanOrEqual", [1, 1, 0, 1]),
        ("GreaterThan", [0, 0, 1, 1]),
        ("GreaterThanOrEqual", [0, 1, 1, 1]),
        ("Equal", [0, 1, 0, 1]),
        ("NotEqual", [1, 0, 1, 1]),
    ],
)
def test_who_passes_the_threshold_stays(operator: str, kept: list[int]) -> None:
    """The last has no such number, which passes unless said otherwise."""
    assert filtering(operator, 2).keep(request(), DEPTHS).astype(int).tolist() == kept
    strict = filtering(operator, 2, onMissing="Fail").keep(request(), DEPTHS)
    assert strict.astype(int).tolist() == [*kept[:3], 0]


def test_when_nobody_passes_all_may_stay() -> None:
    """If the file says so."""
    nobody = {"onMissing": "Fail"}
    assert not filtering("GreaterThan", 9, **nobody).keep(request(), DEPTHS).any()
    assert filtering("GreaterThan", 9, fallbackOnEmpty=True, **nobody).keep(request(), DEPTHS).all()


def test_core_metrics_go_by_upstreams_names_and_what_nobody_writes_is_missing() -> None:
    """A missing number is not 0."""
    assert filtering("LessThan", 1, attribute="WaitingQueueSize").keep(request(), DEPTHS).tolist() == [
        False, True, True, True,
    ]  # fmt: skip
    unknown = filtering("LessThan", 1, attribute="nobody/knows", producer="")
    assert unknown.keep(request(), DEPTHS).all()


def test_a_name_with_a_slash_needs_its_producer() -> None:
    """Upstream's rule."""
    with pytest.raises(ConfigError, match="producer must be said"):
        filtering("LessThan", 1, attribute="gpu/load")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(-1e6, 1e6))
def test_opposite_operators_share_out_the_candidates(values: list[float], value: float) -> None:
    """Law: every endpoint passes exactly one of the two."""
    known = facts(len(values), scalars={"depth": np.array(values)})
    for one, other in (("LessThan", "GreaterThanOrEqual"), ("Equal", "NotEqual")):
        assert (
            filtering(one, value).keep(request(), known) ^ filtering(other, value).keep(request(), known)
        ).all()
