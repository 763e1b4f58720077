"""The published ladder made again: the order of the policies, and how near the figures are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab import ladder
from igw.lab.ladder import Figures
from igw.lab.records import Fate, Record, Run
from igw.lab.runner import run

ROOT = Path(__file__).parents[2]
TARGETS = ROOT / "examples/traces/targets/llmd_qwen3_32b_8x2h100.csv"
RATES = (10.0, 20.0, 40.0)


@pytest.fixture(scope="module")
def simulated() -> dict[tuple[str, float], Figures]:
    """The warm-up and three stages: before, at and after the point where memory is full."""
    scenario, stages = ladder.scenario(RATES)
    return {
        (name, stage.rate): figures
        for name, policy in ladder.POLICIES.items()
        for stage, figures in zip(stages, ladder.figures(run(scenario, policy, 0), stages), strict=True)
    }


def test_policies_come_in_the_published_order(simulated: dict[tuple[str, float], Figures]) -> None:
    """Wherever the published figures of two policies are more than a third apart, ours are apart the same way."""
    published = ladder.published(TARGETS)
    compared = 0
    for rate in RATES:
        for name in ("output_tokens_per_second", "ttft_mean"):
            for better in ladder.POLICIES:
                for worse in ladder.POLICIES:
                    theirs = getattr(published[better, rate], name), getattr(published[worse, rate], name)
                    ours = getattr(simulated[better, rate], name), getattr(simulated[worse, rate], name)
                    if theirs[0] > 4 / 3 * theirs[1]:
                        compared += 1
                        assert ours[0] > ours[1], (rate, name, better, worse, ours, theirs)
    assert compared > 15


def test_throughput_is_within_half_of_the_published(simulated: dict[tuple[str, float], Figures]) -> None:
    """From a tenth below to half above: always on the fast side, as docs/accuracy.md says."""
    published = ladder.published(TARGETS)
    for key, ours in simulated.items():
        assert 0.9 < ours.output_tokens_per_second / published[key].output_tokens_per_second < 1.5, key
        assert 0.75 < ours.itl_mean / published[key].itl_mean < 1.25, key


def test_a_cliff_is_where_it_was_measured(simulated: dict[tuple[str, float], Figures]) -> None:
    """Without prefixes first tokens take seconds from 20 requests/s on, with them they do not; equal weights give way at 40."""
    mean = {key: figures.ttft_mean for key, figures in simulated.items()}
    assert min(mean["random", 20.0], mean["load", 20.0], mean["estimated", 40.0]) > 10
    assert max(mean["precise", 20.0], mean["estimated", 20.0], mean["precise", 40.0]) < 3


def test_stages_are_cut_out_whole_and_moved_together() -> None:
    """The warm-up stays, the requests are those of the whole ladder, and a pause follows each stage."""
    whole, all_stages = ladder.scenario()
    part, stages = ladder.scenario((20.0, 3.0))
    assert [stage.rate for stage in stages] == [3.0, 20.0]
    assert len(all_stages) == 16
    assert stages[0].begin == 50 + ladder.PAUSE_SECONDS == part.warmup_seconds
    assert stages[1].begin == stages[0].end + ladder.PAUSE_SECONDS

    def sent(scenario: ladder.Scenario, stage: ladder.Stage) -> list[str]:
        return [
            each.id for each in scenario.workload.sessions if stage.begin <= each.start_seconds < stage.end
        ]

    for stage in stages:
        (same,) = (each for each in all_stages if each.rate == stage.rate)
        assert sent(part, stage) == sent(whole, same)
    outside = [
        s
        for s in part.workload.sessions
        if s.start_seconds >= 50 and not any(x.begin <= s.start_seconds < x.end for x in stages)
    ]
    assert not outside


def test_a_rate_that_is_no_stage_is_refused() -> None:
    """The stages are listed."""
    with pytest.raises(ValueError, match="no stage of 21 requests/s; it has 3, 10"):
        ladder.scenario((21.0,))


def test_figures_of_a_stage_are_of_the_requests_that_arrived_in_it() -> None:
    """Two answers of 10 tokens in 8 s; a request of the next stage counts there."""
    stages = (ladder.Stage(1.0, 100.0, 102.0), ladder.Stage(2.0, 700.0, 702.0))

    def record(arrived: float, ttft: float, e2e: float) -> Record:
        return Record("s", "", Fate.COMPLETE, 0, arrived, 0.0, 0.0, ttft, e2e, 100, 10, 0)

    records = (record(100.0, 1.0, 2.8), record(101.0, 3.0, 7.0 - 0.1), record(700.0, 1.0, 1.9))
    made = ladder.figures(Run("p", 1, (*records,), (), (), 800.0, 1), stages)
    assert made[0] == Figures(
        pytest.approx(20 / 7.9), 2.0, pytest.approx(2.8), pytest.approx((1.8 + 3.9) / 18)
    )
    assert made[1].output_tokens_per_second == pytest.approx(10 / 1.9)
    with pytest.raises(ValueError, match="no request"):
        ladder.figures(Run("p", 1, records[:2], (), (), 800.0, 1), stages)
    with pytest.raises(ValueError, match="not done"):
        ladder.figures(Run("p", 1, (record(100.0, 1.0, 601.0), *records[2:]), (), (), 800.0, 1), stages)


def test_a_row_that_is_none_of_the_table_is_told_with_its_line(tmp_path: Path) -> None:
    """And with the columns that are expected."""
    path = tmp_path / "targets.csv"
    path.write_text(
        "qps,policy,output_tps,ttft_mean_s,ttft_p90_s,itl_mean_s\n3,random,1,1,1,1\n4,random,many,1,1,1\n"
    )
    with pytest.raises(ConfigError, match="line 3"):
        ladder.published(path)


def test_the_page_has_every_stage_and_its_arithmetic_is_right() -> None:
    """Its published figures are those of the table, its ratios those of its figures, but for rounding."""
    page, published = (ROOT / "docs/accuracy.md").read_text(), ladder.published(TARGETS)
    shown = set()
    for part in page.split("### ")[1:]:
        policy = part.split()[0]
        for row in re.findall(r"^\| (\d+) \| (.*) \|$", part, re.MULTILINE):
            theirs = published[policy, float(row[0])]
            cells = [
                [float(number.replace(",", "")) for number in re.findall(r"[\d,.]+", cell)]
                for cell in row[1].split("|")
            ]
            assert [b for _, b, _ in cells] == pytest.approx(
                [theirs.output_tokens_per_second, theirs.ttft_mean, theirs.ttft_p90, theirs.itl_mean * 1e3],
                rel=0.03,
                abs=0.5,
            )
            assert [a / b for a, b, _ in cells] == pytest.approx(
                [ratio for _, _, ratio in cells], rel=0.15, abs=0.01
            )
            shown.add((policy, float(row[0])))
    assert shown == set(published)
