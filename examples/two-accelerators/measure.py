"""Load for the example: requests at a steady rate, to the servers in turn and then through igw.

Prints how many of them the servers of each accelerator computed, and how long the first token took.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import sys
import time
from collections import Counter

import aiohttp

MODEL = "llama-3.1-8b"
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
PROMPT_WORDS, OUTPUT_TOKENS = (400, 2400), 24
PER_SECOND = 8.0
_PICK = re.compile(r"^llm_d_epp_scheduler_attempts_total\{(.*)\} (\S+)$", re.MULTILINE)
_ENGINE = re.compile(r"^igw_engine_info\{(.*)\} 1", re.MULTILINE)


class Load:
    """Sends requests, and looks at the picker's metrics."""

    def __init__(self, session: aiohttp.ClientSession, metrics: str) -> None:
        """Take where the metrics are."""
        self._session = session
        self._metrics = metrics

    async def run(self, urls: list[str], requests: int) -> list[float]:
        """Send so many requests to *urls* in turn, whether or not earlier ones are answered; return the seconds until each first token."""
        drawn = random.Random(",".join(urls))
        tasks = []
        async with asyncio.TaskGroup() as group:
            for number in range(requests):
                prompt = " ".join(drawn.choices(WORDS, k=drawn.randint(*PROMPT_WORDS)))
                tasks.append(group.create_task(self._first_token(urls[number % len(urls)], prompt)))
                await asyncio.sleep(drawn.expovariate(PER_SECOND))
        return [task.result() for task in tasks]

    async def servers(self) -> dict[str, str]:
        """Return the accelerator of each server, by its `ip:port`."""
        labels = [_labels(written) for written in _ENGINE.findall(await self._page())]
        return {each["endpoint"]: each["accelerator"] for each in labels}

    async def picks(self) -> Counter[str]:
        """Return how many requests the servers of each accelerator were picked for so far."""
        kinds = {where.rpartition(":")[2]: kind for where, kind in (await self.servers()).items()}
        picked: Counter[str] = Counter()
        for written, count in _PICK.findall(await self._page()):
            if (port := _labels(written)["port"]) in kinds:
                picked[kinds[port]] += int(float(count))
        return picked

    async def _page(self) -> str:
        async with self._session.get(f"{self._metrics}/metrics") as answer:
            return await answer.text()

    async def _first_token(self, url: str, prompt: str) -> float:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": OUTPUT_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        begun = time.perf_counter()
        async with self._session.post(f"{url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            await answer.content.readany()
            seconds = time.perf_counter() - begun
            await answer.read()
        return seconds


def _labels(written: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', written))


def _percentile(seconds: list[float], part: float) -> float:
    return 1000 * sorted(seconds)[math.ceil(part * len(seconds)) - 1]


def _row(name: str, kinds: list[str], computed: Counter[str], seconds: list[float]) -> str:
    shares = "".join([f"{100 * computed[kind] / computed.total():8.0f}%" for kind in kinds])
    return f"{name:12}{shares} {_percentile(seconds, 0.5):10.0f} {_percentile(seconds, 0.99):7.0f}"


async def main() -> None:
    """Run both and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--metrics", default="http://127.0.0.1:9090")
    arguments.add_argument("--requests", type=int, default=200, help="for each of both")
    given = arguments.parse_args()
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = Load(session, given.metrics)
        try:
            servers = await load.servers()
        except aiohttp.ClientConnectionError:
            sys.exit(
                f"measure.py: nothing at {given.metrics}; start it with: igw up -f examples/two-accelerators"
            )
        kinds = sorted(set(servers.values()))
        print(f"{'requests':12}" + "".join([f"{'on ' + kind:>9}" for kind in kinds]) + "  median ms  p99 ms")
        in_turn = [f"http://{where}" for where in servers]
        seconds = await load.run(in_turn, given.requests)
        print(_row("in turn", kinds, Counter(servers.values()), seconds), flush=True)
        before = await load.picks()
        seconds = await load.run([given.url], given.requests)
        print(_row("through igw", kinds, await load.picks() - before, seconds))


if __name__ == "__main__":
    asyncio.run(main())
