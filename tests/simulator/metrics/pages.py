"""Pages for the tests of dialects: ours at rest, and recorded ones, both parsed by the official library."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from igw.simulator.engine.config import EngineConfig, Statistics
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.families import Dialect, Rank
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.metrics.page import Page

MODEL = "tiny-llama"
CONFIG = EngineConfig(StepTime.load(), 1000, max_model_len=8192)
WALL_SECONDS = 1.7e9


def families(text: str) -> dict[str, Metric]:
    """Return the families of a page by name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def recorded(name: str) -> dict[str, Metric]:
    """Return the families of a recorded page, without the times at which series began."""
    return families((Path(__file__).parent / "data" / name).read_text())


def page(
    dialect: Dialect,
    statistics: Statistics | None = None,
    histograms: Histograms | None = None,
    model: str = MODEL,
    config: EngineConfig = CONFIG,
) -> dict[str, Metric]:
    """Return our page, of an engine that did nothing unless told otherwise."""
    rank = Rank(config, histograms or distributions(dialect))
    text = Page(dialect, model, [rank]).render([statistics or Engine(config).statistics()], WALL_SECONDS)
    return families(text.decode())


def distributions(dialect: Dialect) -> Histograms:
    """Return empty histograms with the dialect's buckets."""
    return Histograms(CONFIG.max_model_len, dialect.bounds(CONFIG.max_model_len))


def one_request(histograms: Histograms) -> None:
    """Count a request of seven tokens and an answer of eleven: a quarter of a second queued, two seconds in all."""
    last = Emission(Sequence("a", 7, 11), 1, 11, 4, 0.25)
    histograms.stepped(7, 0.75, prefill=True)
    histograms.stepped(1, 0.1, prefill=False)
    histograms.time_to_first_token.observe(1.0)
    histograms.finished(last, arrived=10.0, submitted=10.0, first_token=11.0, now=12.0)
    histograms.answered(1, 11, 11)


def shape(family: Metric) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return names and labels of a family's series, values left out."""
    return [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the value of the one series with that name and these labels among its own."""
    [sample] = [
        sample
        for family in found.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sample.value
