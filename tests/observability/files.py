"""The files that are tested here: alert rules and dashboards, and which metrics they name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yaml"
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))

_UNPACKED = ROOT / "build/prometheus/usr/bin"


def program(name: str) -> str | None:
    """Return where `prometheus` or `promtool` is: on the PATH, else where `make test-observability` unpacks it; None: nowhere."""
    return shutil.which(name) or shutil.which(name, path=str(_UNPACKED))


needs_prometheus = pytest.mark.skipif(
    program("prometheus") is None or program("promtool") is None,
    reason="there is no Prometheus here: `make test-observability` fetches Debian's",
)

_METRIC = re.compile(r"\b(?:llm_d_epp|igw|bbr)_\w+")
_SAMPLE = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules that are alerts, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def queries() -> dict[str, str]:
    """Return the query of every target of every panel, by `file: panel, letter`."""
    return {
        f"{path.name}: {panel['title']}, {target['refId']}": target["expr"]
        for path in DASHBOARDS
        for panel in panels(json.loads(path.read_text()))
        for target in panel.get("targets", ())
    }


def panels(dashboard: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return every panel, those in rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def families(expression: str, known: Iterable[str]) -> set[str]:
    """Return the metric families that *expression* names; samples of histograms by the family's name, if it is among *known*."""
    names = set()
    for name in _METRIC.findall(expression):
        family = _SAMPLE.sub("", name)
        names.add(family if family in known else name)
    return names
