"""Load at a given rate on a given pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab import offered
from igw.lab.offered import CONTEXT_TOKENS, POOLS, Source, at_rate, by_users, native_rate
from igw.lab.workload import Workload


@pytest.mark.parametrize("source", [offered.CONVERSATION, offered.AZURE_CODE])
def test_a_listed_trace_is_squeezed_to_a_rate(source: Source) -> None:
    """Every request of it, in less time."""
    work = at_rate(source, 7.0, seed=0)
    assert native_rate(work) == pytest.approx(7.0)
    assert len(work.sessions) == len(at_rate(source, 1.0, seed=1).sessions)


@pytest.mark.parametrize("source", [offered.LADDER, Source("few", offered.DEEPSEEK_R1.trace, 3000)])
def test_other_load_is_drawn_at_a_rate(source: Source) -> None:
    """About as many requests as wanted; another seed draws others."""
    one, other = (at_rate(source, 30.0, seed) for seed in (0, 1))
    assert len(one.sessions) == pytest.approx(source.requests, rel=0.1)
    assert native_rate(one) == pytest.approx(30.0, rel=0.1)
    assert one != other


def test_users_work_through_sessions_that_fit_the_servers() -> None:
    """Nothing is longer than the context."""
    work = by_users(offered.CLAUDE_CODE, 5, seed=0)
    assert [session.id for session in work.sessions] != [f"user-{n}" for n in range(5)]
    assert {session.id for session in work.sessions} == {f"user-{n}" for n in range(5)}
    assert max(t.prompt_tokens + t.output_tokens for t in work.turns()) <= CONTEXT_TOKENS


def test_every_pool_has_eight_servers() -> None:
    """One in four, or one in eight, is of the slower kind."""
    sizes = {name: [(s.replicas, s.hardware.accelerator) for s in servers] for name, servers in POOLS.items()}
    assert sizes == {
        "even": [(8, "H100")],
        "mixed": [(6, "H100"), (2, "A100")],
        "one-slow": [(7, "H100"), (1, "A100")],
    }
    for servers in POOLS.values():
        assert all(spec.server().engine.num_gpu_blocks > 0 for spec in servers)


def test_a_workload_without_length_has_some_rate() -> None:
    """Rather than a division by zero."""
    assert native_rate(Workload("none", 16, ())) == 1.0


def test_a_missing_folder_of_traces_is_an_error(tmp_path: Path) -> None:
    """That names the file."""
    with pytest.raises(
        ConfigError, match=f"trace {tmp_path}/azure_conv_2023_a.csv.gz: there is no such file"
    ):
        at_rate(offered.AZURE_CONV, 1.0, 0, tmp_path)
