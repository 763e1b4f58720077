"""`by-label` by table."""

from __future__ import annotations

from typing import Any

import pytest

from igw.errors import ConfigError
from igw.scheduling.filters.by_label import ByLabel
from tests.scheduling.candidates import endpoints, facts, plugin, request

THREE = endpoints({"tier": "gold"}, {"tier": "tin"}, {})


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({"label": "tier", "validValues": ["gold"]}, [True, False, False]),
        ({"label": "tier", "validValues": ["gold", "tin"]}, [True, True, False]),
        ({"label": "tier", "validValues": ["gold"], "allowsNoLabel": True}, [True, False, True]),
        ({"label": "tier", "allowsNoLabel": True}, [False, False, True]),
        ({"label": "rank", "validValues": ["gold"]}, [False, False, False]),
    ],
)
def test_who_has_a_valid_value_stays(parameters: dict[str, Any], kept: list[bool]) -> None:
    """Without the label only where that is allowed."""
    assert plugin(ByLabel, **parameters).keep(request(), facts(THREE)).tolist() == kept


def test_a_filter_that_can_keep_nobody_is_refused() -> None:
    """So is one without a label."""
    with pytest.raises(ConfigError, match="nobody would be left"):
        plugin(ByLabel, label="tier")
    with pytest.raises(ConfigError, match="`label` is missing"):
        plugin(ByLabel, validValues=["gold"])
