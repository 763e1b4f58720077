"""What a dialect is made of: families, where their values come from, and what an engine is like at one instant.

Writing them is in `page`; what each engine calls them is in one file per dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec

from igw.simulator.engine.config import EngineConfig, Statistics
from igw.simulator.metrics.histograms import Histograms


class Rank(msgspec.Struct, frozen=True):
    """One engine behind a page: `number` is its data-parallel rank."""

    config: EngineConfig
    histograms: Histograms
    number: int = 0


class Reading(NamedTuple):
    """One engine at one instant; `sleep_level` is 0 while it is awake, and `wall_seconds` is Unix time."""

    statistics: Statistics
    histograms: Histograms
    config: EngineConfig
    sleep_level: int
    wall_seconds: float


Value = Callable[[Reading], float]
Kind = Literal["gauge", "counter"]
Labels = Callable[[str, int | None], dict[str, str]]
"""From a model and a rank, the labels that every series of that engine has; rank None asks for those of the server."""
Block = Callable[[Sequence[Reading]], str]
"""Writes one family, head and all."""


class Series(NamedTuple):
    """A value and the labels that tell it from others of its family."""

    value: Value
    labels: Mapping[str, str] = {}


class Family(NamedTuple):
    """A gauge or counter. With `whole` the engines of a server are added up and have no label of their own."""

    name: str
    kind: Kind
    text: str
    series: tuple[Series, ...]
    whole: bool = False


class Distribution(NamedTuple):
    """A histogram: its name on the page, and the attributes of `Histograms` it shows with the labels they get."""

    name: str
    text: str
    shown: tuple[tuple[str, Mapping[str, str]], ...]


class Dialect(NamedTuple):
    """What one engine's page looks like.

    `bounds` are bucket bounds by attribute of `Histograms`, given the model's length. `blocks` makes, from model and
    ranks, what tables cannot say. Without `ranks` the dialect has no label for data-parallel ranks; with
    `http_requests` the page ends with the server's HTTP requests.
    """

    families: tuple[Family | Distribution, ...]
    labels: Labels
    paths: tuple[str, ...] = ("/metrics",)
    bounds: Callable[[int], Mapping[str, tuple[float, ...]]] = lambda _length: {}
    blocks: Callable[[str, Sequence[Rank]], Iterable[Block]] = lambda _model, _ranks: ()
    ranks: bool = False
    http_requests: bool = False


def of(name: str) -> Value:
    """Return the getter of a field of the engine's `Statistics`."""
    return attrgetter(f"statistics.{name}")


def summed(name: str) -> Value:
    """Return the getter of the sum of a histogram, by its attribute of `Histograms`."""
    return attrgetter(f"histograms.{name}.sum")


def never(_reading: Reading) -> float:
    """Return 0, the value of what a real engine shows and what cannot happen here."""
    return 0.0


def gauge(name: str, text: str, value: Value) -> Family:
    """Return a gauge of one series."""
    return Family(name, "gauge", text, (Series(value),))


def counter(name: str, text: str, value: Value) -> Family:
    """Return a counter of one series."""
    return Family(name, "counter", text, (Series(value),))


def labelled(name: str, kind: Kind, text: str, label: str, values: Mapping[str, Value]) -> Family:
    """Return a family with a series per value of *label*."""
    return Family(name, kind, text, tuple(Series(value, {label: key}) for key, value in values.items()))


def histogram(name: str, text: str, shown: str) -> Distribution:
    """Return a histogram without labels of its own."""
    return Distribution(name, text, ((shown, {}),))


def external_hits(reading: Reading) -> float:
    """Return the tokens of prompts begun that another tier or server supplied.

    Hits are counted when a request is admitted and prompts when their first token comes, so never more than those.
    """
    return min(reading.statistics.external_hits_tokens, reading.statistics.prompt_tokens_cached)
