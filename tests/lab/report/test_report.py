"""What is shown of runs: values, tables, the page."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest
from rich.console import Console

from igw.errors import ConfigError
from igw.lab.oracles import HitOracles
from igw.lab.records import Fate, Record, Run, Sample, ServerTotal
from igw.lab.report import page, table
from igw.lab.report.values import Comparison, Report, results
from igw.lab.summary import Objectives


def run(policy: str, seed: int, factor: float, fate: Fate = Fate.COMPLETE) -> Run:
    """Return a run of twenty requests, slow by *factor*; the last has *fate*."""
    records = tuple(
        Record(
            f"s{i}", f"t{i % 2}", fate if i == 19 else Fate.COMPLETE, i % 2, float(i), 0.0, 0.1 * factor,
            factor * (1 + i / 20 + seed / 100), factor * 5, 100, 50, int(60 / factor), i < 2,
        )
        for i in range(20)
    )  # fmt: skip
    samples = tuple(Sample(float(i), (i % 3, 1), (0, i % 2), (0.5, 0.5)) for i in range(1000))
    servers = (ServerTotal("a", 10, 100, 100, 3.0, 0), ServerTotal("b", 10, 100, 100, 3.0 * factor, 1))
    return Run(policy, seed, records, samples, servers, 30.0, 100)


def comparison(rate: float = 1.0, *, partial: bool = False, fate: Fate = Fate.COMPLETE) -> Comparison:
    """Return a comparison of two policies and a bound, three seeds each."""
    runs = {
        name: [run(name, seed, factor * rate, fate) for seed in range(3)]
        for name, factor in (("slow & sure", 3.0), ("default", 1.5), ("seer", 1.0))
    }
    oracles = HitOracles(infinite=0.8, pooled=0.5)
    return Comparison(
        title="a trace <x>",
        rate=rate,
        requests=20,
        prompt_tokens_mean=100,
        output_tokens_mean=50,
        servers=("H100", "L4"),
        objectives=Objectives(),
        seeds=(0, 1, 2),
        warmup="the first 2 s are warm-up and in no figure",
        oracles=oracles,
        policies=results(runs, ["seer"], Objectives(), oracles),
        partial=partial,
    )


def test_regret_and_ratios_are_those_to_the_oracles() -> None:
    """Worked out by hand for the default: 1.5 times the bound's durations, 40 % hits."""
    (_, default, seer) = comparison().policies
    assert default.achieved["hit_infinite"] == pytest.approx(0.5)
    assert default.achieved["hit_pooled"] == pytest.approx(0.8)
    assert default.achieved["ttft"] == pytest.approx(2 / 3)
    assert default.regret["e2e_seconds"] == pytest.approx(2.5)
    assert seer.clairvoyant
    assert not default.clairvoyant
    assert seer.regret["ttft_seconds"] == 0


def test_the_best_of_several_bounds_is_what_is_compared_with() -> None:
    """And without any there is no regret, but the caches' oracles stay."""
    runs = {name: [run(name, 0, factor)] for name, factor in (("a", 4.0), ("one", 2.0), ("two", 1.0))}
    (first, *_) = results(runs, ["one", "two"], Objectives(), HitOracles(0.6, 0.6))
    assert first.regret["e2e_seconds"] == pytest.approx(15.0)
    (alone,) = results({"a": runs["a"]}, [], Objectives(), HitOracles(0.6, 0.0))
    assert alone.regret == {}
    assert alone.achieved == {"hit_infinite": pytest.approx(0.25), "hit_pooled": 1.0}


def test_a_policy_without_a_run_is_left_out() -> None:
    """A replay that was stopped has such policies."""
    runs = {"a": [run("a", 0, 1.0)], "b": [], "seer": []}
    found = results(runs, ["seer"], Objectives(), HitOracles(0.6, 0.6))
    assert [result.name for result in found] == ["a"]


def test_a_load_plot_has_a_bounded_number_of_points() -> None:
    """The first seed's, thinned evenly; waiting requests count."""
    load = comparison().policies[0].load
    assert len(load.at_seconds) == 200
    assert load.at_seconds[:3] == (0.0, 5.0, 10.0)
    assert load.requests[1][:3] == (1, 2, 1)


def shown(what: Comparison, width: int = 110) -> str:
    """Return the tables as they are printed."""
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table.rendered(what))
    return captured.get()


def test_the_tables_show_every_policy_and_what_they_rest_on() -> None:
    """Nothing is cut off at 110 columns; the bound stands below the rivals."""
    text = shown(comparison())
    assert "…" not in text
    assert "20 requests, in the mean 100 prompt and 50 output tokens. 1 x H100, 1 x L4." in text.replace(
        "\n", " "
    )
    assert "The first 2 s are warm-up" in text.replace("\n", " ")
    order = [text.index(name) for name in ("slow & sure", "default", "seer")]
    assert order == sorted(order)
    assert "PARTIAL" not in text


def test_the_tables_say_when_they_are_partial_and_what_did_not_complete() -> None:
    """In words."""
    text = shown(comparison(partial=True, fate=Fate.LOST))
    assert "PARTIAL: stopped before its end" in text
    assert "default: 1 lost of 20 requests" in text


def test_the_page_opens_without_a_network_and_is_the_same_for_the_same_runs() -> None:
    """No address is loaded; names are escaped; one plot per policy, one distribution; curves where rates differ."""
    report = Report("1.0", (comparison(0.8), comparison(1.2, partial=True)), partial=True)
    text = page.rendered(report)
    assert text == page.rendered(report)
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text)
    assert "a trace &lt;x&gt;" in text
    assert "slow &amp; sure" in text
    assert text.count("Plotly.newPlot(") - _in_plotly() == 6 + 2 * (1 + 3)
    assert "these figures are partial" in text


def test_the_page_of_one_rate_has_no_curves() -> None:
    """There is nothing to draw them through."""
    assert "Over the rate" not in page.rendered(Report("1.0", (comparison(),)))


def test_json_is_the_values() -> None:
    """They come back as they were."""
    report = Report("1.0", (comparison(),))
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert not report.partial


def test_without_plotly_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the option and the cure."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigError, match="plotly is not installed") as caught:
        page.rendered(Report("1.0", ()))
    assert (caught.value.where, caught.value.hint) == ("--html", "pip install 'igw[lab]'")


def test_the_table_needs_no_plotly() -> None:
    """It is loaded when a page is asked for, and not before."""
    code = "import sys, igw.lab.report.page, igw.lab.report.table; sys.exit('plotly' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _in_plotly() -> int:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).count("Plotly.newPlot(")
