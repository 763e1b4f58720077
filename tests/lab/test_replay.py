"""Whole replays: what comes out of a plan, and what an interrupt leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from igw.lab import jobs as jobs_module
from igw.lab.options import Options, plan
from igw.lab.records import Run
from igw.lab.replay import replay
from igw.lab.report.values import Comparison

TRACE = Path(__file__).parents[2] / "examples" / "traces" / "mooncake_conversation_a.jsonl.gz"


def options(**values: object) -> Options:
    """Return a small replay."""
    usual = {"trace": str(TRACE), "requests": 40, "policy": "round-robin,default", "seeds": 2}
    return Options(**(usual | values))  # type: ignore[arg-type]


def test_a_replay_compares_its_policies_with_the_oracles() -> None:
    """Every request of every run is accounted for; no policy hits more than an infinite cache."""
    (comparison,) = replay(plan(options()), processes=1).comparisons
    assert [result.name for result in comparison.policies] == ["round-robin", "default", "clairvoyant-greedy"]
    assert comparison.servers == ("qwen3-32b on 2 x H100",) * 8
    assert comparison.warmup == "the first 10% of requests are warm-up and in no figure (4 requests)"
    for result in comparison.policies:
        assert len(result.seeds) == 2
        assert all(seed.complete == 36 for seed in result.seeds)
        assert result.figures["ttft.mean"].mean > 0
        assert result.achieved["hit_infinite"] <= 1 + 1e-9
    assert comparison.policies[2].regret == {"ttft_seconds": 0, "e2e_seconds": 0, "worse_share": 0}


def test_the_same_replay_gives_the_same_bytes() -> None:
    """In one process or in two."""
    first = replay(plan(options()), processes=1)
    second = replay(plan(options()), processes=2)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_several_rates_are_compared_one_by_one_and_told_as_they_come() -> None:
    """Progress reaches the number of runs."""
    told: list[Comparison] = []
    done: list[float] = []
    what = plan(options(rate="1,4", seeds=1, clairvoyant=False))
    report = replay(what, 1, lambda _name, share: done.append(share), told.append)
    assert report.comparisons == tuple(told)
    assert [each.rate for each in told] == [1, 4]
    assert done[-1] == 4
    assert done == sorted(done)


def test_an_interrupt_leaves_a_partial_report_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run under way ends where it is, nothing else begins."""
    run = jobs_module.run

    def interrupted(*arguments: object) -> Run:
        if arguments[1] == "default":
            os.kill(os.getpid(), signal.SIGINT)
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs_module, "run", interrupted)
    report = replay(plan(options(rate="1,2")), processes=1)
    assert report.partial
    (comparison,) = report.comparisons
    assert comparison.partial
    assert comparison.policies[0].name == "round-robin"
    assert len(comparison.policies[0].seeds) == 1


def test_an_interrupt_before_anything_leaves_an_empty_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is partial and no error."""
    run = jobs_module.run

    def interrupted(*arguments: object) -> Run:
        os.kill(os.getpid(), signal.SIGINT)
        return msgspec.structs.replace(run(*arguments), records=())  # type: ignore[arg-type]

    monkeypatch.setattr(jobs_module, "run", interrupted)
    report = replay(plan(options()), processes=1)
    assert (report.comparisons, report.partial) == ((), True)
