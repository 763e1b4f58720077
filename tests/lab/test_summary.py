"""Figures of runs, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.lab.records import Fate, Record, Run, ServerTotal
from igw.lab.summary import Distribution, Figure, Objectives, figures, jain, summarize


def record(**values: object) -> Record:
    """Return a request that was answered within ten seconds, but for *values*."""
    usual = {
        "session": "s", "tenant": "t", "fate": Fate.COMPLETE, "server": 0, "arrived": 0.0, "held_seconds": 0.0,
        "queued_seconds": 0.5, "ttft_seconds": 1.0, "e2e_seconds": 10.0, "prompt_tokens": 100, "output_tokens": 101,
        "cached_tokens": 25,
    }  # fmt: skip
    return Record(**(usual | values))  # type: ignore[arg-type]


def run(*records: Record, busy: tuple[float, ...] = (1.0,)) -> Run:
    """Return a run of those requests."""
    servers = tuple(ServerTotal(str(i), 1, 1, 1, seconds, 0) for i, seconds in enumerate(busy))
    return Run("p", 0, records, (), servers, virtual_seconds=100.0, steps=1)


def test_a_run_in_figures() -> None:
    """Two requests, ten seconds apart: shares, rates and durations."""
    summary = summarize(run(record(), record(arrived=10.0, ttft_seconds=3.0, cached_tokens=75)), Objectives())
    assert summary.requests == summary.complete == 2
    assert summary.ttft.mean == 2.0
    assert summary.ttft.p50 == 2.0
    assert summary.tpot.mean == pytest.approx((0.09 + 0.07) / 2)
    assert summary.goodput == 0.0
    assert summary.hit_ratio == 0.5
    assert summary.output_tokens_per_second == pytest.approx(202 / 20)
    assert summary.queued.mean == 0.5


def test_good_is_what_was_whole_and_in_time() -> None:
    """Each objective alone can spoil it; None does not matter."""
    quick = record(e2e_seconds=2.0)
    assert Objectives(2.0, 0.05).met(quick)
    assert not Objectives(0.5, None).met(quick)
    assert not Objectives(None, 0.005).met(quick)
    assert not Objectives(None, None, 1.0).met(quick)
    assert not Objectives(None, None, None).met(record(fate=Fate.LOST))
    assert summarize(run(quick, record(fate=Fate.REJECTED)), Objectives()).goodput == 0.5


def test_the_warmup_is_in_no_figure_and_said() -> None:
    """However bad it was."""
    summary = summarize(run(record(warmup=True, ttft_seconds=99.0), record()), Objectives())
    assert (summary.requests, summary.warmup, summary.ttft.mean) == (1, 1, 1.0)


def test_what_did_not_complete_is_counted_and_has_no_durations() -> None:
    """It spoils goodput and nothing else."""
    fates = (Fate.LOST, Fate.LOST, Fate.REJECTED, Fate.UNFINISHED)
    lost = [record(fate=fate, ttft_seconds=0.0, e2e_seconds=0.0) for fate in fates]
    summary = summarize(run(record(), *lost), Objectives(None, None))
    assert (summary.lost, summary.rejected, summary.unfinished) == (2, 1, 1)
    assert summary.ttft.mean == 1.0
    assert summary.goodput == 0.2


def test_nothing_counted_is_zero_and_no_error() -> None:
    """A replay that is stopped at once has such runs."""
    summary = summarize(run(busy=()), Objectives())
    assert summary.ttft == Distribution()
    assert (summary.goodput, summary.hit_ratio, summary.jain, summary.work_spread) == (0.0, 0.0, 1.0, 1.0)


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    """It is not a zero that makes the mean look better."""
    summary = summarize(run(record(output_tokens=1), record()), Objectives())
    assert summary.tpot.mean == pytest.approx(0.09)


def test_work_is_spread_evenly_at_one() -> None:
    """All on one of four is four."""
    assert summarize(run(record(), busy=(2.0, 2.0)), Objectives()).work_spread == 1.0
    assert summarize(run(record(), busy=(8.0, 0.0, 0.0, 0.0)), Objectives()).work_spread == 4.0


def test_tenants_are_compared_by_what_they_get_per_second() -> None:
    """Equal speed is fair, whoever asks for more."""
    fair = run(record(tenant="a"), record(tenant="b"), record(tenant="b"))
    assert summarize(fair, Objectives()).jain == pytest.approx(1.0)
    unfair = run(record(tenant="a"), record(tenant="b", e2e_seconds=1000.0))
    assert summarize(unfair, Objectives()).jain < 0.6


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20))
def test_jain_is_between_one_share_and_one(shares: list[float]) -> None:
    """And the same for every unit."""
    index = jain(shares)
    assert 1 / len(shares) <= index * (1 + 1e-9) <= 1 + 1e-6
    assert jain([7 * share for share in shares]) == pytest.approx(index)


def test_seeds_have_a_mean_and_a_deviation() -> None:
    """That of a sample; one seed has none."""
    assert Figure.of([2.0, 4.0]) == Figure(3.0, pytest.approx(2**0.5))
    assert Figure.of([2.0]) == Figure(2.0, 0.0)
    seeds = [summarize(run(record(ttft_seconds=ttft)), Objectives()) for ttft in (1.0, 3.0)]
    assert figures(seeds)["ttft.p99"].mean == 2.0
    assert figures(seeds)["requests"] == Figure(1.0, 0.0)
