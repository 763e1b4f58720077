"""What an engine calls the things we want to know, as data, and reading a page by it. The names themselves are in `engines/`.

Which engine a page is of is `reader`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from igw.facts import Adapters
from igw.scraping.exposition import group, label
from igw.scraping.report import Report

_MOST = 1e15
"""What is more is no count of anything."""

_APART_SECONDS = 1.0
"""Between what data-parallel engines wrote last: each writes with every step."""

Samples = Sequence[tuple[bytes, float]]


class Spec(msgspec.Struct, frozen=True):
    """One number on a page: the value of a family's series, or of a label of theirs."""

    name: bytes
    """The family's name, without braces."""
    matchers: tuple[tuple[bytes, str], ...] = ()
    """Labels that a series must have with these values."""
    label: bytes = b""
    """The label that holds the number; empty: the series' value is the number."""

    def read(self, page: bytes) -> Samples:
        """Return (labels, number) of every series that fits."""
        found = group(page, self.name)
        if self.matchers:
            found = [each for each in found if all(label(each[0], name) == to for name, to in self.matchers)]
        if self.label and found:
            texts = [(labels, label(labels, self.label) or "") for labels, _ in found]
            # `isdecimal` alone would take digits of other scripts; a long one could not be a number of tokens.
            found = [
                (labels, float(text))
                for labels, text in texts
                if text.isascii() and text.isdecimal() and len(text) < 16
            ]
        return found

    @property
    def text(self) -> str:
        """The number's name as upstream's specs are written."""
        inside = ",".join([f"{name.decode()}={value}" for name, value in self.matchers])
        return self.name.decode() + (f"{{{inside}}}" if inside else "")


def named(name: str, label: str = "", **matchers: str) -> Spec:
    """Return a spec, for tables."""
    return Spec(
        name.encode(), tuple([(key.encode(), value) for key, value in matchers.items()]), label.encode()
    )


class Engine(msgspec.Struct, frozen=True):
    """What one engine calls things. Where there are several specs, the first that the page has counts: names change with versions."""

    name: str
    """As the label `llm-d.ai/engine-type` calls it."""
    marks: tuple[bytes, ...] = ()
    """Beginnings of names that only this engine's pages have; empty: it cannot be told from a page."""
    waiting: tuple[Spec, ...] = ()
    running: tuple[Spec, ...] = ()
    kv_usage: tuple[Spec, ...] = ()
    capacity_tokens: tuple[Spec, ...] = ()
    block_size: tuple[Spec, ...] = ()
    blocks: tuple[Spec, ...] = ()
    """Blocks of KV memory; with `block_size` the capacity, where no spec tells it in tokens."""
    lifetime: tuple[Spec, ...] = ()
    """Counters since the start of the engine."""
    busy: tuple[tuple[Spec, float], ...] = ()
    """Counters, each with what makes seconds of it and its sign, that add up to seconds of computing requests."""
    lora: bytes = b""
    """The family of LoRA adapters, in vLLM's form."""
    rank: bytes = b""
    """The label that tells data-parallel engines on one page apart: they add up. Series alike in it show the same thing (ranks of tensor
    parallelism), so the largest counts. Empty: all series add up."""
    scalars: tuple[tuple[str, Spec], ...] = ()
    """Custom metrics: (key, spec)."""


def read(page: bytes, engine: Engine) -> Report:
    """Read a page as one of *engine*. What is not there is None and, but for what an engine may lack, named in `missing`."""
    missing: list[str] = []
    waiting = _total(_wanted(page, engine.waiting, missing), engine.rank)
    running = _total(_wanted(page, engine.running, missing), engine.rank)
    usages = _by_rank(_wanted(page, engine.kv_usage, missing), engine.rank)
    tokens, block_size = _capacity(page, engine)
    if tokens is None and (wanted := engine.capacity_tokens or engine.blocks):
        missing.append(wanted[0].text)
    lifetime = _first(page, engine.lifetime)
    return Report(
        waiting=waiting,
        running=running,
        kv_usage=min(1.0, math.fsum(usages) / len(usages)) if usages else None,
        kv_capacity_tokens=tokens,
        lifetime=math.fsum(set_of) if (set_of := [value for _, value in set(lifetime)]) else None,
        adapters=_adapters(page, engine) if engine.lora else None,
        block_size_tokens=block_size,
        busy_seconds=_busy(page, engine),
        scalars=_scalars(page, engine) if engine.scalars else {},
        missing=tuple(missing),
    )


def _first(page: bytes, specs: Iterable[Spec]) -> Samples:
    for spec in specs:
        if found := spec.read(page):
            return found
    return ()


def _wanted(page: bytes, specs: Sequence[Spec], missing: list[str]) -> Samples:
    found = [(labels, value) for labels, value in _first(page, specs) if 0 <= value <= _MOST]
    if specs and not found:
        missing.append(specs[0].text)
    return found


def _by_rank(found: Samples, rank: bytes) -> list[float]:
    """Return one number per data-parallel engine."""
    if len(found) < 2:
        return [value for _, value in found]
    most: dict[object, float] = {}
    for labels, value in found:
        key = label(labels, rank) if rank else labels
        most[key] = max(value, most.get(key, value))
    return list(most.values())


def _total(found: Samples, rank: bytes) -> float | None:
    return math.fsum(_by_rank(found, rank)) if found else None


def _capacity(page: bytes, engine: Engine) -> tuple[int | None, int | None]:
    """Return the tokens that all KV memory takes, and those that a block does; None for what is not told."""
    of_rank, rank = {}, engine.rank
    sizes = [(labels, value) for labels, value in _first(page, engine.block_size) if 0 < value <= _MOST]
    block_size = int(max([value for _, value in sizes])) if sizes else None
    tokens = [(labels, value) for labels, value in _first(page, engine.capacity_tokens) if 0 < value <= _MOST]
    if tokens:
        return int(_total(tokens, rank) or 0), block_size
    blocks = [(labels, value) for labels, value in _first(page, engine.blocks) if 0 < value <= _MOST]
    if not blocks or not sizes:
        return None, block_size
    for labels, value in sizes:
        of_rank[label(labels, rank) if rank else None] = value
    least = min(of_rank.values())
    products: list[tuple[bytes, float]] = []
    for labels, value in blocks:
        products.append((labels, value * of_rank.get(label(labels, rank) if rank else None, least)))
    return int(_total(products, rank) or 0), block_size


def _busy(page: bytes, engine: Engine) -> float | None:
    if not engine.busy:
        return None
    parts = [(spec.read(page), seconds) for spec, seconds in engine.busy]
    if not parts[0][0]:
        return None
    return math.fsum(
        [value * seconds for found, seconds in parts for _, value in set(found) if abs(value) <= _MOST]
    )


def _scalars(page: bytes, engine: Engine) -> dict[str, float]:
    # The first series counts, as upstream has it where no series has a time.
    return {key: found[0][1] for key, spec in engine.scalars if (found := spec.read(page))}


def _adapters(page: bytes, engine: Engine) -> Adapters | None:
    """Read a family like `vllm:lora_requests_info`: a series per combination of adapters there ever was; its value is when it was last so."""
    combinations = group(page, engine.lora)
    if not combinations:
        return None
    series = [labels for labels, _ in _first(page, engine.running)]
    ranks = {label(labels, engine.rank) for labels in series}
    newest = max(combinations, key=_newest)
    latest = [newest[0]]
    if len(ranks) > 1:  # each data-parallel engine writes its own, without saying which it is
        latest = [labels for labels, when in combinations if when > newest[1] - _APART_SECONDS]
    most = label(newest[0], b"max_lora") or ""
    models = [label(labels, b"model_name") or "" for labels in series]
    return Adapters(
        running=_names(latest, b"running_lora_adapters"),
        waiting=_names(latest, b"waiting_lora_adapters"),
        most=int(most) * max(1, len(ranks)) if most.isascii() and most.isdecimal() and len(most) < 10 else 0,
        model=min(models, default=""),
    )


def _newest(sample: tuple[bytes, float]) -> tuple[float, bytes]:
    return sample[1], sample[0]


def _names(series: Iterable[bytes], of: bytes) -> frozenset[str]:
    return frozenset(
        [name for labels in series for part in (label(labels, of) or "").split(",") if (name := part.strip())]
    )
