"""vLLM's metrics page (V1 engine): queue, batch, KV memory and its size. One file per engine."""

from __future__ import annotations

import msgspec

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
