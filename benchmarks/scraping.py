"""Scraping while nothing happens, and reading one page: CPU of the picker's side, with how fresh its knowledge is.

Servers are a process of their own that answers from memory. `cores`: CPU seconds per second of the scraping process, its scraper and HTTP client,
nothing else. `age_s`: mean and largest age of what is known, at the end.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.prefix.index import PrefixIndex
from igw.scraping.access import session
from igw.scraping.reader import Engines, Reader
from igw.scraping.scraper import Scraper
from igw.scraping.settings import Scraping

_ENGINES = Path(__file__).parents[1] / "tests" / "data" / "engines"
SHORT = (
    b'vllm:num_requests_waiting{engine="0"} 0\nvllm:num_requests_running{engine="0"} 0\nvllm:kv_cache_usage_perc{engine="0"} 0\n'
    b'vllm:prefix_cache_queries_total{engine="0"} 0\nvllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1\n'
)
_LONG_BYTES = 41_000
_SECONDS = 6.0
_BUSY_PICKS = 100_000


def long_page() -> bytes:
    """Return 41 KB of a page that vLLM wrote: its `_created` series, which nobody reads, are left out as far as need be."""
    lines = recorded("vllm-0.32.0-metrics").splitlines(keepends=True)
    excess = sum(map(len, lines)) - _LONG_BYTES
    kept = []
    for line in lines:
        if excess > 0 and (b"_created" in line or b"_bucket" in line):
            excess -= len(line)
        else:
            kept.append(line)
    return b"".join(kept)


def recorded(name: str) -> bytes:
    """Return a page of a real engine."""
    return gzip.decompress((_ENGINES / f"{name}.txt.gz").read_bytes())


def pages() -> list[dict[str, Any]]:
    """Return what reading one page takes."""
    rows = []
    for case, page in (
        ("5 lines", SHORT),
        ("vLLM, 41 KB", long_page()),
        ("vLLM 0.32.0, whole", recorded("vllm-0.32.0-metrics")),
        ("SGLang 0.5.23, whole", recorded("sglang-0.5.23-metrics")),
    ):
        reader = Reader(Engines(), {})
        text = page.decode()
        rows.append({
            "case": f"read a page: {case}",
            "bytes": len(page),
            "read_us": _best(lambda page=page, reader=reader: reader.read(page, 0.0)),
            "full_parse_us": _best(lambda text=text: list(text_string_to_metric_families(text))),
        })  # fmt: skip
    return rows


def _best(work: Callable[[], Any]) -> float:
    lowest, until = float("inf"), time.process_time() + 0.3
    while time.process_time() < until:
        start = time.process_time()
        for _ in range(10):
            work()
        lowest = min(lowest, (time.process_time() - start) / 10)
    return lowest * 1e6


async def idle() -> list[dict[str, Any]]:
    """Return a row per number of endpoints and page."""
    cases = [
        *[("idle: 5 lines", SHORT, endpoints, 0) for endpoints in (8, 100, 1000)],
        *[("idle: 41 KB", long_page(), endpoints, 0) for endpoints in (8, 100, 1000)],
        *[("busy: 41 KB", long_page(), endpoints, _BUSY_PICKS) for endpoints in (8, 100)],
    ]
    return [await _row(*case) for case in cases]


async def _row(case: str, page: bytes, endpoints: int, picks_per_second: int) -> dict[str, Any]:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.scraping",
        str(endpoints),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(len(page).to_bytes(4, "big") + page)
    await server.stdin.drain()
    ports = json.loads(await server.stdout.readline())
    pool = Pool("p", "default", tuple([Endpoint.at("127.0.0.1", port) for port in ports]))
    prefix = PrefixIndex()
    columns = Columns(pool, prefix.slot)
    scraper = Scraper(columns, prefix, Scraping(), time.monotonic)
    try:
        async with session() as http, asyncio.TaskGroup() as group:
            scraper.follow(pool, group, http)
            await asyncio.sleep(2.0 + endpoints / 80)  # connections and first pages
            before, began = scraper.statistics().done, time.monotonic()
            cpu = time.process_time()
            while time.monotonic() - began < _SECONDS:
                columns.picks += picks_per_second // 20
                await asyncio.sleep(0.05 if picks_per_second else _SECONDS)
            seconds = time.monotonic() - began
            used, done = time.process_time() - cpu, scraper.statistics().done - before
            ages = [each.age_seconds or 0.0 for each in scraper.statuses()]
            await scraper.stop()
    finally:
        server.kill()
        await server.wait()
    return {
        "case": case, "endpoints": endpoints, "cores": f"{used / seconds:.3f}", "scrapes_per_s": done / seconds,
        "us_per_scrape": used / max(done, 1) * 1e6, "mean_age_s": f"{sum(ages) / len(ages):.2f}", "largest_age_s": f"{max(ages):.2f}",
    }  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Return all rows."""
    return [*pages(), *uvloop.run(idle())]


class _Answers(asyncio.Protocol):
    """Answers every request with the page, without looking at it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._transport.write(self._answer)


async def _serve(number: int) -> None:
    size = int.from_bytes(sys.stdin.buffer.read(4), "big")
    page = sys.stdin.buffer.read(size)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {size}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: _Answers(head + page), "127.0.0.1", 0) for _ in range(number)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
