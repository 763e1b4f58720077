"""Rules and dashboards as files, where there is no Prometheus to try them: names, places, numbers."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.observability.files import DASHBOARDS, alerts, families, panels, queries, rules
from tests.test_docs import first_cells, page, sections

LISTED = first_cells(sections(page("operations.md"))["Metrics of the picker"]) | first_cells(page("bbr.md"))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_can_be_imported(path: Path) -> None:
    """Every panel has a number, a name, a place of its own, and asks the data source that one chooses."""
    dashboard = json.loads(path.read_text())
    found = list(panels(dashboard))
    assert dashboard["id"] is None
    assert dashboard["uid"]
    assert not [number for number, count in Counter(panel["id"] for panel in found).items() if count > 1]
    for panel in found:
        assert panel["title"]
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    assert not [
        (a["title"], b["title"]) for a, b in combinations(found, 2) if _overlap(a["gridPos"], b["gridPos"])
    ]
    assert {"datasource", "job", "model"} == {
        variable["name"] for variable in dashboard["templating"]["list"]
    }


def test_dashboards_are_told_apart() -> None:
    """By what Grafana knows them by."""
    assert len({json.loads(path.read_text())["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 2


def test_what_is_named_is_documented() -> None:
    """Families of rules and dashboards are those of the tables of metrics."""
    named = [rule["expr"] for rule in rules()] + list(queries().values())
    assert set().union(*(families(expression, LISTED) for expression in named)) <= LISTED


def test_every_alert_is_explained() -> None:
    """In the table of its page."""
    assert set(alerts()) == first_cells(sections(page("alerts.md"))["Alerts"])


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return bool(
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )
