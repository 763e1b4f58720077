"""Load for the example: two tenants, one greedy by ten; then critical requests alone and beside sheddable ones. Prints two tables."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

MODEL = "llama-3.1-8b"
SHORT_TOKENS, LONG_TOKENS = 16, 128
"""Of answers: about 0.15 and 1 second. Times are compared of long ones, because what a busy machine adds is small beside them."""
SEATS = 8
"""Of both servers together."""


@dataclass
class Tally:
    """What one group of clients got."""

    seconds: list[float] = field(default_factory=list)
    """Per request that was served, from its sending to the end of its answer."""
    tokens: int = 0
    failed: int = 0

    @property
    def answered(self) -> int:
        """How many requests were answered, served or not."""
        return len(self.seconds) + self.failed

    def percentile(self, part: float) -> float:
        """Return how long requests took at most, in milliseconds, but for the slowest 1 - *part*; nan if none was served."""
        if not self.seconds:
            return math.nan
        ranked = sorted(self.seconds)
        return 1000 * ranked[math.ceil(part * len(ranked)) - 1]


class Load:
    """Clients that each send their next request when the last one is answered."""

    def __init__(self, session: aiohttp.ClientSession, url: str, output_tokens: int) -> None:
        """Take where to send to, and how long answers are to be."""
        self._session = session
        self._url = url
        self._output_tokens = output_tokens

    async def ask(self, name: str, headers: dict[str, str], tally: Tally) -> None:
        """Send one request and note what came of it."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": name}],
            "max_tokens": self._output_tokens,
        }
        begun = time.perf_counter()
        async with self._session.post(self._url, json=body, headers=headers) as answer:
            if answer.status != 200:
                tally.failed += 1
                return
            usage = (await answer.json())["usage"]
        tally.seconds.append(time.perf_counter() - begun)
        tally.tokens += usage["total_tokens"]

    async def run(
        self, groups: list[tuple[Tally, int, dict[str, str]]], enough: Callable[[], bool], settle: int = 0
    ) -> None:
        """Run so many clients for each tally until it is *enough*.

        The first *settle* answers are not counted, nor is what is still under way at the end.
        """
        ahead = settle

        async def client(name: str, headers: dict[str, str], tally: Tally) -> None:
            nonlocal ahead
            turn = 0
            while not enough():
                turn += 1
                got = Tally()
                await self.ask(f"{name} asks {turn}", headers, got)
                if ahead:
                    ahead -= 1
                elif not enough():
                    tally.seconds += got.seconds
                    tally.tokens += got.tokens
                    tally.failed += got.failed

        async with asyncio.TaskGroup() as tasks:
            for number, (tally, clients, headers) in enumerate(groups):
                for each in range(clients):
                    tasks.create_task(client(f"{number}.{each}", headers, tally))


async def two_tenants(load: Load, requests: int) -> None:
    """Let a tenant with 8 clients and one with 80 ask until *requests* were answered; print who got what.

    Not counted are as many answers as there are clients, at first: all come at once, and the queue is not there yet.
    """
    modest, greedy = Tally(), Tally()
    clients = {"modest": (modest, SEATS), "greedy": (greedy, 10 * SEATS)}

    def answered() -> int:
        return modest.answered + greedy.answered

    await load.run(
        [(tally, count, {"x-llm-d-inference-fairness-id": name}) for name, (tally, count) in clients.items()],
        lambda: answered() >= requests,
        settle=11 * SEATS,
    )
    print("tenant    clients  finished  failed  tokens  share of tokens")
    total = max(1, modest.tokens + greedy.tokens)
    for name, (tally, count) in clients.items():
        share = 100 * tally.tokens / total
        print(f"{name:9} {count:7} {len(tally.seconds):9} {tally.failed:7} {tally.tokens:7} {share:15.1f}%")


async def two_priorities(load: Load, requests: int) -> None:
    """Let four clients send *requests* critical requests, alone and beside sheddable ones that want twice what there is; print times."""
    headers = {name: {"x-llm-d-inference-objective": name} for name in ("critical", "sheddable")}
    alone, beside, sheddable = Tally(), Tally(), Tally()
    await load.run([(alone, SEATS // 2, headers["critical"])], lambda: alone.answered >= requests)
    await load.run(
        [(beside, SEATS // 2, headers["critical"]), (sheddable, 2 * SEATS, headers["sheddable"])],
        lambda: beside.answered >= requests,
        settle=3 * SEATS,
    )
    print("requests                    clients  finished  failed  median ms  p99 ms")
    for name, count, tally in (
        ("critical alone", SEATS // 2, alone),
        ("critical beside sheddable", SEATS // 2, beside),
        ("sheddable", 2 * SEATS, sheddable),
    ):
        median = tally.percentile(0.5)
        print(
            f"{name:27} {count:7} {len(tally.seconds):9} {tally.failed:7} {median:10.0f} {tally.percentile(0.99):7.0f}"
        )


async def main() -> None:
    """Run both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument(
        "--requests",
        type=int,
        default=100,
        help="critical ones per measurement; tenants get four times as many",
    )
    given = arguments.parse_args()
    # The default would be 100 connections, and others would wait in the client.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        url = given.url + "/v1/chat/completions"
        short, long = (Load(session, url, tokens) for tokens in (SHORT_TOKENS, LONG_TOKENS))
        try:
            await short.ask("anybody", {}, Tally())
        except aiohttp.ClientConnectionError:
            sys.exit(
                f"load.py: nothing listens at {given.url}; start it with: igw up -f examples/fair-sharing"
            )
        await two_tenants(short, 4 * given.requests)
        print()
        await two_priorities(long, given.requests)


if __name__ == "__main__":
    asyncio.run(main())
