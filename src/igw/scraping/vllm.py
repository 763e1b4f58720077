"""vLLM's metrics page (V1 engine): queue, batch, KV memory and its size. One file per engine."""

from __future__ import annotations

import msgspec

from igw.facts import Adapters
from igw.scraping.exposition import label, series


class Report(msgspec.Struct, frozen=True):
    """What one engine says of itself at one moment."""

    waiting: float
    running: float
    kv_usage: float
    """0 to 1."""
    kv_capacity_tokens: int | None = None
    prefix_queries: float | None = None
    """A counter; that it goes back means the engine was restarted, with an empty cache."""
    adapters: Adapters | None = None
    """None for an engine that serves no LoRA adapters, or has not run any request yet."""


def read(page: bytes) -> Report:
    """Read a page. Data-parallel engines on one port add up: their queues are summed, their KV usage averaged.

    Raises:
        ValueError: the page lacks a metric that a vLLM server always has.
    """
    kv = [value for _, value in series(page, b"vllm:kv_cache_usage_perc")]
    prefix = [value for _, value in series(page, b"vllm:prefix_cache_queries_total")]
    return Report(
        waiting=_total(page, "vllm:num_requests_waiting"),
        running=_total(page, "vllm:num_requests_running"),
        kv_usage=sum(kv) / len(kv) if kv else 0.0,
        kv_capacity_tokens=_capacity(page),
        prefix_queries=sum(prefix) if prefix else None,
        adapters=_adapters(page),
    )


def _total(page: bytes, name: str) -> float:
    values = [value for _, value in series(page, name.encode())]
    if not values:
        raise ValueError(f"the metrics page has no {name}")
    return sum(values)


def _capacity(page: bytes) -> int | None:
    total = 0
    for labels, _ in series(page, b"vllm:cache_config_info"):
        size, blocks = label(labels, b"block_size"), label(labels, b"num_gpu_blocks")
        if size and blocks and size.isdigit() and blocks.isdigit():
            total += int(size) * int(blocks)
    return total or None


def _adapters(page: bytes) -> Adapters | None:
    """Read `vllm:lora_requests_info`: a series per combination of adapters there ever was; its value is when it was last so."""
    combinations = list(series(page, b"vllm:lora_requests_info"))
    if not combinations:
        return None
    labels, _ = max(combinations, key=_value)
    most = label(labels, b"max_lora") or ""
    return Adapters(
        running=_names(label(labels, b"running_lora_adapters")),
        waiting=_names(label(labels, b"waiting_lora_adapters")),
        most=int(most) if most.isdigit() else 0,
        model=next(
            (label(of, b"model_name") or "" for of, _ in series(page, b"vllm:num_requests_running")), ""
        ),
    )


def _value(sample: tuple[bytes, float]) -> float:
    return sample[1]


def _names(written: str | None) -> frozenset[str]:
    return frozenset(name for part in (written or "").split(",") if (name := part.strip()))
