"""Load for the example: the same questions about some documents, for a pool whose servers tell of their caches and for one whose do not.

Prints a table: how much of the prompts was cached, and by what the picker knew where.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

MODEL = "llama-3.1-8b"
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
DOCUMENTS = 40
"""Of about 4,000 tokens each. All servers of a pool together have room for about 24, if no document is there twice."""
WORDS_EACH = 2_800
CLIENTS = 8
OUTPUT_TOKENS = 32
KNOWN_BY = ("exact", "speculative", "approximate", "none")


@dataclass
class Question:
    """One request: about a document, through the gateway or around it, to that server of the pool."""

    number: int
    document: int
    around: bool
    server: int


@dataclass
class Tally:
    """What came of the requests of one pool that went through the gateway, without the first third, which finds empty caches."""

    seconds: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    known_by: Counter[str] = field(default_factory=Counter)


def document(number: int) -> str:
    """Return one document, always the same."""
    drawn = random.Random(number)
    return " ".join(drawn.choice(WORDS) for _ in range(WORDS_EACH))


def questions(count: int) -> list[Question]:
    """Return so many questions; some documents are asked about more often than others."""
    drawn = random.Random(0)
    weights = [(1 + number) ** -0.6 for number in range(DOCUMENTS)]
    chosen = drawn.choices(range(DOCUMENTS), weights, k=count)
    return [
        Question(number, each, drawn.random() < 0.5, drawn.randrange(64))
        for number, each in enumerate(chosen)
    ]


class Load:
    """Asks questions, and looks at the picker's metrics."""

    def __init__(self, session: aiohttp.ClientSession, url: str, metrics: str) -> None:
        """Take where to send to, and where the metrics are."""
        self._session = session
        self._url = url
        self._metrics = metrics

    async def run(self, pool: str, headers: dict[str, str], asked: list[Question]) -> Tally:
        """Ask everything of one pool, by clients that each ask the next question when the last one is answered."""
        servers = await self.servers(pool)
        before, tally, left = await self.known_by(), Tally(), iter(asked)

        async def client(left: Iterator[Question]) -> None:
            for question in left:
                url = f"http://{servers[question.server % len(servers)]}" if question.around else self._url
                seconds, usage = await self.ask(url, headers, question)
                if not question.around and question.number >= len(asked) // 3:
                    tally.seconds.append(seconds)
                    tally.prompt_tokens += usage["prompt_tokens"]
                    tally.cached_tokens += usage["prompt_tokens_details"]["cached_tokens"]

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(client(left))
        tally.known_by = await self.known_by() - before
        return tally

    async def ask(
        self, url: str, headers: dict[str, str], question: Question
    ) -> tuple[float, dict[str, Any]]:
        """Return after how many seconds the answer began, and what it says of its tokens."""
        messages = [
            {"role": "system", "content": document(question.document)},
            {"role": "user", "content": f"Question {question.number}?"},
        ]
        body = {"model": MODEL, "messages": messages, "max_tokens": OUTPUT_TOKENS}
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        begun = time.perf_counter()
        async with self._session.post(
            f"{url}/v1/chat/completions", json=body | streamed, headers=headers
        ) as answer:
            answer.raise_for_status()
            first = await answer.content.readline()
            seconds = time.perf_counter() - begun
            *_, last = re.findall(rb"^data: (\{.*\})$", first + await answer.read(), re.MULTILINE)
        return seconds, json.loads(last)["usage"]

    async def servers(self, pool: str) -> list[str]:
        """Return the addresses of a pool's servers."""
        series = re.findall(r"^igw_inflight_requests\{(.*)\}", await self._page(), re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in series]
        found = [each["endpoint"] for each in labels if each["name"] == pool]
        if not found:
            sys.exit(
                f"measure.py: the picker at {self._metrics} has no pool {pool}; is another example running?"
            )
        return found

    async def known_by(self) -> Counter[str]:
        """Return how many picks there were, by what was known of the picked server's cache."""
        found = re.findall(
            r'^igw_prefix_matches_total\{matched_by="([^"]*)"\} (\S+)', await self._page(), re.MULTILINE
        )
        return Counter({by: int(float(count)) for by, count in found})

    async def _page(self) -> str:
        async with self._session.get(f"{self._metrics}/metrics") as answer:
            return await answer.text()


async def main() -> None:
    """Ask both pools the same, one after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--metrics", default="http://127.0.0.1:9090")
    arguments.add_argument(
        "--requests", type=int, default=300, help="per pool; half of them go around the gateway"
    )
    given = arguments.parse_args()
    asked = questions(given.requests)
    async with aiohttp.ClientSession() as session:
        load = Load(session, given.url, given.metrics)
        try:
            tallies = {
                "approximate": await load.run("silent", {"x-index": "approximate"}, asked),
                "exact": await load.run("telling", {}, asked),
            }
        except aiohttp.ClientConnectionError as error:
            sys.exit(f"measure.py: {error}; start it with: igw up -f examples/exact-prefix")
    print("index        cached  first token   picks known by:", *(f"{by:>11}" for by in KNOWN_BY))
    for index, tally in tallies.items():
        cached = 100 * tally.cached_tokens / max(1, tally.prompt_tokens)
        known = " ".join(f"{tally.known_by[by]:11}" for by in KNOWN_BY)
        print(f"{index:11} {cached:6.1f}% {1000 * statistics.median(tally.seconds):8.0f} ms {known:>64}")


if __name__ == "__main__":
    asyncio.run(main())
