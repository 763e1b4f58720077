"""`label-selector-filter` by table: a Kubernetes label selector."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.scheduling.filters.label_selector import LabelSelectorFilter
from tests.scheduling.candidates import endpoints, facts, plugin, request

FOUR = endpoints({"gpu": "h100", "zone": "a"}, {"gpu": "l4", "zone": "a"}, {"zone": "b"}, {})


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    """Return parameters with one expression."""
    expression: dict[str, Any] = {"key": key, "operator": operator}
    return {"matchExpressions": [expression | ({"values": list(values)} if values else {})]}


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        pytest.param({}, [1, 1, 1, 1], id="an empty selector matches all"),
        pytest.param({"matchLabels": {"zone": "a"}}, [1, 1, 0, 0], id="one label"),
        pytest.param({"matchLabels": {"zone": "a", "gpu": "l4"}}, [0, 1, 0, 0], id="every label"),
        pytest.param(requirement("gpu", "In", "h100", "h200"), [1, 0, 0, 0], id="In"),
        pytest.param(requirement("gpu", "NotIn", "h100"), [0, 1, 1, 1], id="NotIn holds without the label"),
        pytest.param(requirement("gpu", "Exists"), [1, 1, 0, 0], id="Exists"),
        pytest.param(requirement("gpu", "DoesNotExist"), [0, 0, 1, 1], id="DoesNotExist"),
        pytest.param(
            {"matchLabels": {"zone": "a"}} | requirement("gpu", "NotIn", "l4"), [1, 0, 0, 0], id="both"
        ),
    ],
)
def test_who_matches_every_requirement_stays(parameters: dict[str, Any], kept: list[int]) -> None:
    """As Kubernetes reads selectors."""
    mask = plugin(LabelSelectorFilter, **parameters).keep(request(), facts(FOUR))
    assert mask.tolist() == [bool(each) for each in kept]


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        (requirement("gpu", "In"), "operator In needs values"),
        (requirement("gpu", "Exists", "h100"), "operator Exists takes no values"),
        (requirement("gpu", "Inn", "h100"), "did you mean In?"),
        ({"matchLabel": {}}, "did you mean matchLabels?"),
    ],
)
def test_a_selector_that_means_nothing_is_refused(parameters: dict[str, Any], problem: str) -> None:
    """With what would be right."""
    with pytest.raises(ConfigError, match=problem.replace("?", r"\?")):
        plugin(LabelSelectorFilter, **parameters)


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))


@given(st.lists(labels, min_size=1, max_size=6), labels)
def test_a_requirement_and_its_opposite_share_out_the_candidates(
    candidates: list[dict[str, str]], match: dict[str, str]
) -> None:
    """Law: nobody is in both or in neither, and the same candidates give the same answer again."""
    known = facts(endpoints(*candidates))
    for key, value in match.items():
        inside = plugin(LabelSelectorFilter, **requirement(key, "In", value))
        outside = plugin(LabelSelectorFilter, **requirement(key, "NotIn", value))
        assert (inside.keep(request(), known) ^ outside.keep(request(), known)).all()
        assert inside.keep(request(), known).tolist() == inside.keep(request(), known).tolist()
