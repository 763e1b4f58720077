"""Requests drawn from statistics of clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.lab.traces.catalogue import detect, stream, workload

HEADER = {"pool": "made", "window_s": 600, "quantiles_pct": [0, 50, 100]}


def client(name: int, *windows: list[Any], lengths: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return one line."""
    usual = [{"t": 0, "input_tokens": [10, 20, 100], "output_tokens": [5, 5, 5]}]
    return {"client": name, "requests": 1, "windows": list(windows), "lengths": lengths or usual}


def window(
    t: float, rate: float, cv: float = 1.0, pattern: str | None = "Gamma", p1: float | None = 1.0
) -> list[Any]:
    """Return a client's ten minutes."""
    return [t, rate, cv, pattern, p1, 0.1]


def test_a_rate_scales_every_client_alike(write: Callable[..., Path]) -> None:
    """Each is a tenant; the mix stays."""
    path = write(HEADER, client(1, window(0, 3.0)), client(2, window(0, 1.0)))
    sessions = list(stream(path, options={"rate": 40, "seconds": 600}))
    assert len(sessions) == pytest.approx(24_000, rel=0.03)
    count = Counter(session.tenant for session in sessions)
    assert count["1"] / len(sessions) == pytest.approx(0.75, abs=0.01)
    assert [each.start_seconds for each in sessions] == sorted(each.start_seconds for each in sessions)


def test_the_day_rises_and_falls(write: Callable[..., Path]) -> None:
    """By the windows' rates; a client without a window is silent."""
    path = write(HEADER, client(1, window(0, 2.0), window(1200, 6.0)))
    at = [each.start_seconds for each in stream(path, options={"seconds": 1800})]
    first, second, third = (sum(low <= t < low + 600 for t in at) for low in (0, 600, 1200))
    assert (first, third) == (pytest.approx(1200, rel=0.1), pytest.approx(3600, rel=0.1))
    assert second == 0


def test_a_part_of_the_day_can_be_taken(write: Callable[..., Path]) -> None:
    """Its time begins at 0, in the middle of a window too."""
    path = write(HEADER, client(1, window(0, 1.0), window(600, 10.0)))
    at = [each.start_seconds for each in stream(path, options={"from_seconds": 500, "seconds": 300})]
    assert sum(t < 100 for t in at) == pytest.approx(100, rel=0.4)
    assert sum(t >= 100 for t in at) == pytest.approx(2000, rel=0.1)
    assert max(at) < 300


@pytest.mark.parametrize(
    ("pattern", "shape", "cv"), [("Gamma", 0.25, 2.0), ("Weibull", 2.0, 0.5227), (None, None, 1.0)]
)
def test_gaps_have_the_recorded_distribution(
    write: Callable[..., Path], pattern: str | None, shape: float | None, cv: float
) -> None:
    """At any rate; exponential where none was recorded."""
    windows = [window(600.0 * n, 5.0, cv, pattern, shape) for n in range(20)]
    path = write(HEADER, client(1, *windows))
    at = [each.start_seconds for each in stream(path, options={"rate": 2.0, "seconds": 12_000})]
    gaps = [b - a for a, b in pairwise(at)]
    assert mean(gaps) == pytest.approx(0.5, rel=0.05)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=0.06)


def test_lengths_follow_the_quantiles_of_their_time(write: Callable[..., Path]) -> None:
    """Straight lines between them; the last table before a request counts."""
    tables = [
        {"t": 0, "input_tokens": [10, 20, 100], "output_tokens": [1, 1, 1]},
        {"t": 600, "input_tokens": [1000, 1000, 1000], "output_tokens": [0, 0, 0]},
    ]
    path = write(HEADER, client(1, window(0, 20.0), window(600, 20.0), lengths=tables))
    early: list[int] = []
    late: list[int] = []
    for each in stream(path, options={"seconds": 1200}):
        (early if each.start_seconds < 600 else late).append(each.turns[0].prompt_tokens)
    assert set(late) == {1000}
    assert 10 <= min(early) <= max(early) <= 100
    assert sum(length <= 20 for length in early) / len(early) == pytest.approx(0.5, abs=0.02)
    assert mean(early) == pytest.approx((15 + 60) / 2, rel=0.03)


def test_a_seed_decides(write: Callable[..., Path]) -> None:
    """The same seed, the same requests."""
    path = write(HEADER, client(1, window(0, 1.0)))
    one, same, other = (workload(path, options={"seed": seed}).sessions for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([HEADER], "line 1: no client is active in the seconds chosen"),
        (
            [HEADER, client(1, window(90_000, 1.0))],
            "line 2: no client is active .* .choose others than 0 to 1800",
        ),
        (
            [HEADER, client(1, window(600, 1.0), window(0, 1.0))],
            "line 2: windows of client 1 are not in order",
        ),
        (
            [HEADER, client(1, lengths=[{"t": 0, "input_tokens": [1], "output_tokens": [1, 2, 3]}])],
            "line 2: 1 lengths for 3 quantiles",
        ),
        ([HEADER, {"client": 1}], "line 2: Object missing required field `windows`"),
        ([HEADER, client(1, ["soon", 1.0])], "line 2: Expected `float`"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(
    write: Callable[..., Path], lines: list[Any], problem: str
) -> None:
    """With the line."""
    with pytest.raises(ConfigError, match=problem):
        workload(write(*lines))


@pytest.mark.parametrize(
    ("file", "clients", "prompt", "output", "top"),
    [("deepseek_r1", 73, 1400, 1555, 0.29), ("m_small_day2", 25, 176, 38, 0.28)],
)
def test_a_day_of_the_published_clients_has_the_published_figures(
    traces: Path, file: str, clients: int, prompt: int, output: int, top: float
) -> None:
    """About: their mean lengths, and the share of the busiest client."""
    path = traces / f"servegen_{file}.jsonl.gz"
    assert detect(path) == "servegen"
    sessions = list(stream(path, options={"rate": 0.5, "seconds": 86_400}))
    assert len(sessions) == pytest.approx(43_200, rel=0.06)
    turns = [session.turns[0] for session in sessions]
    assert mean(turn.prompt_tokens for turn in turns) == pytest.approx(prompt, rel=0.15)
    assert mean(turn.output_tokens for turn in turns) == pytest.approx(output, rel=0.15)
    count = Counter(session.tenant for session in sessions)
    assert len(count) <= clients
    assert count.most_common(1)[0][1] / len(sessions) == pytest.approx(top, abs=0.03)
