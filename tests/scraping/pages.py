"""Metrics pages for tests: recorded ones, and those of our simulator."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.engine import Engine
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.dialects import DIALECTS, DialectName
from igw.simulator.metrics.families import Rank
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.metrics.page import Page

FOLDER = Path(__file__).parents[1] / "data" / "engines"
RECORDED = sorted(path.name.removesuffix(".txt.gz") for path in FOLDER.glob("*-metrics*.txt.gz"))


def recorded(name: str) -> bytes:
    """Return a page of a real engine."""
    return gzip.decompress((FOLDER / f"{name}.txt.gz").read_bytes())


def simulated(dialect: DialectName, ranks: int = 1, **fields: Any) -> bytes:
    """Return the page of a simulated server whose engines are all as *fields* of `Statistics` say."""
    config = EngineConfig(StepTime.load(), 1000, block_size=32, max_model_len=8192)
    histograms = Histograms(8192, DIALECTS[dialect].bounds(8192))
    made = [Rank(config, histograms, number) for number in range(ranks)]
    now = replace(Engine(config).statistics(), **fields)
    return Page(DIALECTS[dialect], "tiny-llama", made).render([now] * ranks, 1.7e9)
