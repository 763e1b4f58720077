"""Rules and dashboards on a real Prometheus that scrapes the whole stack: what they name exists, and alerts fire when something is broken."""

from __future__ import annotations

import asyncio
import re

import pytest

from igw.discovery.observed import collect as collect_cluster
from tests.observability.files import RULES, alerts, families, needs_prometheus, queries, rules
from tests.observability.prometheus import hastened
from tests.observability.recording import Recording, plugin, record

pytestmark = needs_prometheus

CONSEQUENCES = {
    "IgwEndpointsEjected", "IgwErrorRateHigh", "IgwNoReadyEndpoints", "IgwQueueTurnsAway", "IgwSloBurnsFast", "IgwSloBurnsSlowly",
}  # fmt: skip
"""Of servers that are gone."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """One run for all tests; it takes half a minute."""
    folder = tmp_path_factory.mktemp("observed")
    plugin(folder / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "site"))
        return asyncio.run(record(folder))


def _known(page: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))


def test_windows_are_cut_short_and_nothing_else() -> None:
    """The rules that are tried are those that are shipped, but for time."""
    before, after = RULES.read_text(), hastened(RULES.read_text())
    assert re.sub(r"\d+(s|m|h)\b", "T", before) == re.sub(r"\d+(s|m|h)\b", "T", after)
    assert not re.search(r"\[\d+[mh]\]|for: \d+[mh]", after)


def test_prometheus_takes_every_rule(recording: Recording) -> None:
    """And has evaluated each without an error."""
    assert {rule["name"] for rule in recording.rules} == {
        rule.get("alert") or rule["record"] for rule in rules()
    }
    assert {rule["health"] for rule in recording.rules} == {"ok"}


def test_every_metric_that_rules_name_is_on_the_page(recording: Recording) -> None:
    """As a family; whether it has series depends on what has happened. Two are there only in a cluster."""
    known = _known(recording.page) | {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in collect_cluster((), ())
    }
    for rule in rules():
        text = rule["expr"] + " ".join(rule.get("annotations", {}).values())
        assert families(text, known) <= known, rule


def test_every_metric_that_dashboards_name_is_on_the_page(recording: Recording) -> None:
    """Of all panels, and of the lists one chooses from."""
    known = _known(recording.page)
    for name, expression in queries().items():
        assert families(expression, known) <= known, name


def test_every_panel_shows_what_there_is(recording: Recording) -> None:
    """Prometheus understands each query, and one whose selectors all have series comes to something."""
    silent = [
        name
        for name, query in recording.queries.items()
        if not query.series and all(query.selectors.values())
    ]
    assert len(recording.queries) == len(queries())
    assert not silent
    assert sum(1 for query in recording.queries.values() if query.series) > 0.6 * len(recording.queries)


def test_nothing_fires_while_all_is_well(recording: Recording) -> None:
    """Under traffic, with objectives, shadows and edits that can be used."""
    assert recording.well == set()


@pytest.mark.parametrize(
    ("broken", "alerts_expected", "others"),
    [
        ("objectives are missed", {"IgwSloBurnsFast", "IgwSloBurnsSlowly"}, set()),
        ("a file is spoilt", {"IgwConfigRefused"}, set()),
        ("a shadow fails", {"IgwShadowOff"}, set()),
        ("a server answers with errors", {"IgwEndpointsEjected"}, {"IgwErrorRateHigh", "IgwSloBurnsFast", "IgwSloBurnsSlowly"}),
        (
            "all servers are gone",
            {"IgwNoReadyEndpoints", "IgwErrorRateHigh"},
            CONSEQUENCES,
        ),
        ("the picker is gone", {"IgwPickerAbsent"}, CONSEQUENCES),
    ],
)  # fmt: skip
def test_what_is_broken_fires_its_alert(
    recording: Recording, broken: str, alerts_expected: set[str], others: set[str]
) -> None:
    """And none that it does not lead to: *others* are its consequences, which may or may not come in time."""
    fired = recording.fired[broken]
    assert alerts_expected <= fired <= alerts_expected | others
    assert alerts_expected <= set(alerts())


def test_what_is_mended_is_quiet_again(recording: Recording) -> None:
    """Once its windows have passed."""
    assert recording.ended == dict.fromkeys(
        ("objectives are missed", "a file is spoilt", "a shadow fails"), True
    )
