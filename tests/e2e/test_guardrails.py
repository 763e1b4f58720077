"""Guardrails between workloads, through the real Envoy: shares of unequal tenants, room kept for others, places of those who leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness import Stack
from tests.e2e.test_flow_control import LONG, ONE_EACH, SIZE, ask, narrow, with_header

INFLIGHT = "igw_inflight_requests"
TENANT, OBJECTIVE = "x-llm-d-inference-fairness-id", "x-llm-d-inference-objective"

SEATS = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: marginal-work-scorer}
- {type: near-tie-picker}
- {type: concurrency-detector, parameters: {maxConcurrency: 4}}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: concurrency-detector}
  - {pluginRef: marginal-work-scorer}
  - {pluginRef: near-tie-picker}
flowControl: {saturationDetector: {pluginRef: concurrency-detector}}
"""
"""Eight requests in flight on two servers; all else by default."""

HOLDBACK = ONE_EACH.replace("maxConcurrency: 1", "maxConcurrency: 4").replace(
    "flowControl: {", "flowControl: {usageLimitPolicyPluginRef: holdback, "
).replace("plugins:\n", "plugins:\n- {name: holdback, type: priority-holdback-policy, parameters: {minCeiling: 0.5}}\n")  # fmt: skip


async def with_objectives(running: Stack, **priorities: int) -> None:
    """Add an objective for each name."""
    objectives: list[dict[str, Any]] = [
        {
            "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective", "metadata": {"name": name},
            "spec": {"priority": priority, "poolRef": {"name": "p"}},
        }
        for name, priority in priorities.items()
    ]  # fmt: skip
    running.file.write_text(yaml.safe_dump_all([*running.documents(running.ports), *objectives]))
    await running.becomes("igw_config_reloads_total", 1)


async def asked(running: Stack, header: str, value: str, **fields: Any) -> int:
    """Send a request with a header; return the answer's status."""
    async with with_header(running, header, value, **fields) as response:
        await response.read()
    return int(response.status)


async def left(*tasks: asyncio.Task[Any]) -> None:
    """Let clients go away."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Served:
    """Work done for each tenant, by what flow control charges for it: prompt tokens and twice the output."""

    def __init__(self, running: Stack, settle: int, enough: int) -> None:
        """Take when to begin to count, and when to end, in work."""
        self.counted: Counter[str] = Counter()
        self.done = asyncio.Event()
        self._running = running
        self._settle = settle
        self._enough = enough

    async def client(self, name: str, max_tokens: int) -> None:
        """Send requests one after another."""
        while not self.done.is_set():
            async with with_header(self._running, TENANT, name, max_tokens=max_tokens) as response:
                usage = (await response.json())["usage"]
            work = usage["prompt_tokens"] + 2 * usage["completion_tokens"]
            if self._settle > 0:
                self._settle -= work
                continue
            self.counted[name] += work
            if self.counted.total() >= self._enough:
                self.done.set()


async def test_a_greedy_tenant_with_long_answers_gets_no_more_work_done(tmp_path: Path) -> None:
    """Ten times the clients and four times the answer: the other one's share of the work is half, but for 5 %."""
    async with narrow(tmp_path, config=SEATS) as running, asyncio.timeout(50.0):
        served = Served(running, settle=150_000, enough=250_000)
        clients = [
            asyncio.create_task(served.client(name, max_tokens))
            for name, count, max_tokens in (("modest", 8, 250), ("greedy", 80, 1000))
            for _ in range(count)
        ]
        await served.done.wait()
        await left(*clients)
        share = served.counted["modest"] / served.counted.total()
        assert abs(share - 0.5) <= 0.05 * 0.5


async def test_seats_that_others_used_lately_stay_free_of_sheddable_work(tmp_path: Path) -> None:
    """Nobody has to write that down. The others find them free; sheddable requests get what is left."""
    async with narrow(tmp_path, config=SEATS) as running:
        await with_objectives(running, sheddable=-1)
        assert 200 == await asked(running, OBJECTIVE, "sheddable", max_tokens=1)
        three = [asyncio.create_task(ask(running, str(n), max_tokens=1000)) for n in range(3)]
        await running.becomes(INFLIGHT, 3)
        assert [200] * 3 == [status for status, _ in await asyncio.gather(*three)]
        await running.becomes(INFLIGHT, 0)
        many = [
            asyncio.create_task(asked(running, OBJECTIVE, "sheddable", max_tokens=60_000)) for _ in range(8)
        ]
        await running.becomes(SIZE, 3)
        assert 5 == await running.metric(INFLIGHT)
        three = [asyncio.create_task(ask(running, str(n), max_tokens=60_000)) for n in range(3)]
        await running.becomes(INFLIGHT, 8)
        assert 3 == await running.metric(SIZE)
        await left(*many, *three)


async def test_a_lower_priority_fills_the_pool_to_its_ceiling(tmp_path: Path) -> None:
    """Half of eight seats are four, whichever server they are on."""
    async with narrow(tmp_path, "--allow-experimental-plugins", config=HOLDBACK) as running:
        await with_objectives(running, urgent=10, spare=-1)
        assert 200 == await asked(running, OBJECTIVE, "urgent", max_tokens=1)
        many = [asyncio.create_task(asked(running, OBJECTIVE, "spare", max_tokens=60_000)) for _ in range(6)]
        await running.becomes(SIZE, 2)
        assert 4 == await running.metric(INFLIGHT)
        urgent = [
            asyncio.create_task(asked(running, OBJECTIVE, "urgent", max_tokens=60_000)) for _ in range(4)
        ]
        await running.becomes(INFLIGHT, 8)
        await left(*many, *urgent)


async def test_who_leaves_frees_its_place_at_once(tmp_path: Path) -> None:
    """In the queue, which lets the next one in; and at the server, which serves it."""
    full = ONE_EACH.replace("flowControl: {", "flowControl: {maxRequests: 1, ")
    async with narrow(tmp_path, config=full) as running:
        busy = [asyncio.create_task(ask(running, str(n), max_tokens=60_000)) for n in range(2)]
        await running.becomes(INFLIGHT, 2)
        first = asyncio.create_task(ask(running, "first", **LONG))
        await running.becomes(SIZE, 1)
        status, headers = await ask(running, "refused", **LONG)
        assert (429, "rejected-saturated") == (status, headers["x-llm-d-request-dropped-reason"])
        await left(first)
        await running.becomes(SIZE, 0, within_seconds=1.0)
        second = asyncio.create_task(ask(running, "second", max_tokens=4))
        await running.becomes(SIZE, 1)
        await left(busy[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                assert 200 == (await second)[0]
        assert second.done()
        await left(busy[1], second)
