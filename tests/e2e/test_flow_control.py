"""Requests that wait at the gateway, through the real Envoy: held, answered in order, told when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from igw.gateway.settings import GatewaySettings
from tests.e2e.harness import Stack, stack
from tests.e2e.test_full_duplex import foreign

SIZE = "llm_d_epp_flow_control_queue_size"
DISPATCHED = "llm_d_epp_flow_control_requests_total"

ONE_EACH = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- {type: active-request-scorer}
- {type: max-score-picker}
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
flowControl: {saturationDetector: {pluginRef: concurrency-detector}}
"""
"""One request in flight for each server."""

LONG: dict[str, Any] = {"max_tokens": 3000}
"""About a second at twenty times the speed."""


@contextlib.asynccontextmanager
async def narrow(
    folder: Path, *flags: str, timeout_seconds: float = 60.0, config: str = ONE_EACH
) -> AsyncIterator[Stack]:
    """Run two servers that take one request each, and a gateway that gives up a silent picker after *timeout_seconds*."""
    file = folder / "picker.yaml"
    file.write_text(config)
    settings = GatewaySettings(picker_timeout_seconds=timeout_seconds)
    async with stack(
        folder, failure_mode="FailClose", picker_flags=("--config-file", str(file), *flags), settings=settings
    ) as running:
        yield running


async def ask(
    running: Stack, name: str = "x", order: list[str] | None = None, **fields: Any
) -> tuple[int, dict[str, str]]:
    """Send a request; return its status and headers once it is answered, and note its name."""
    async with running.chat(f"{name} hello", **fields) as response:
        await response.read()
    if order is not None:
        order.append(name)
    return response.status, dict(response.headers)


def with_header(running: Stack, name: str, value: str, **fields: Any) -> Any:
    """Send a request with a header more."""
    return running.http.post(
        f"{running.url}/v1/chat/completions",
        json={"model": "llama", "messages": [{"role": "user", "content": "hi"}], **fields},
        headers={name: value},
    )


async def test_what_does_not_fit_waits_and_everybody_is_answered(tmp_path: Path) -> None:
    """Longer than a picker may be silent: it says that they wait. A client that leaves takes its place in the queue along."""
    async with narrow(tmp_path, timeout_seconds=2.0) as running:
        answers = [asyncio.create_task(ask(running, str(n), **LONG)) for n in range(8)]
        await running.becomes(SIZE, 6)
        assert 2 == await running.metric("igw_inflight_requests")
        leaving = asyncio.create_task(ask(running, "leaving", **LONG))
        await running.becomes(SIZE, 7)
        leaving.cancel()
        await running.becomes(SIZE, 6, within_seconds=1.0)
        start = time.monotonic()
        assert [200] * 8 == [status for status, _ in await asyncio.gather(*answers)]
        assert time.monotonic() - start > 2.0
        await running.becomes("igw_reservations_open", 0)
        assert 9 == await running.metric(DISPATCHED)


async def test_who_waits_too_long_is_told_when_to_come_again(tmp_path: Path) -> None:
    """429 with its reason; requests that can go nowhere are told so at once, however full it is."""
    async with narrow(tmp_path) as running:
        busy = [asyncio.create_task(ask(running, str(n), **LONG)) for n in range(2)]
        await running.becomes("igw_inflight_requests", 2)
        async with with_header(running, "x-igw-queue-ttl-ms", "200") as response:
            assert 429 == response.status
            assert "rejected-ttl-expired" == response.headers["x-llm-d-request-dropped-reason"]
            assert 1 <= int(response.headers["retry-after"]) <= 60
        async with with_header(running, "prefer", "if-available") as response:
            assert 412 == response.status
        async with running.http.post(f"{running.url}/v1/chat/completions", data=b"{") as response:
            assert 400 == response.status
        assert [200, 200] == [status for status, _ in await asyncio.gather(*busy)]


async def test_who_is_more_important_goes_first(tmp_path: Path) -> None:
    """Whoever came first."""
    async with narrow(tmp_path) as running:
        documents = running.documents(running.ports)
        objective = {
            "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective", "metadata": {"name": "urgent"},
            "spec": {"priority": 10, "poolRef": {"name": "p"}},
        }  # fmt: skip
        running.file.write_text(yaml.safe_dump_all([*documents, objective]))
        await running.becomes("igw_config_reloads_total", 1)
        order: list[str] = []
        tasks = [asyncio.create_task(ask(running, str(n), **LONG)) for n in range(2)]
        await running.becomes("igw_inflight_requests", 2)
        tasks += [asyncio.create_task(ask(running, "plain", order, max_tokens=1000)) for _ in range(2)]
        await running.becomes(SIZE, 2)

        async def urgent() -> None:
            async with with_header(
                running, "x-llm-d-inference-objective", "urgent", max_tokens=10
            ) as response:
                assert 200 == response.status
            order.append("urgent")

        await asyncio.gather(*tasks, urgent())
        assert "urgent" == order[0]


async def test_a_picker_that_stops_first_serves_who_waits(tmp_path: Path) -> None:
    """Those for whom there is no time are told that it stops; two of the late ones are running by then."""
    async with narrow(tmp_path, "--drain-timeout", "3") as running:
        answers = [asyncio.create_task(ask(running, str(n), max_tokens=2000)) for n in range(4)]
        late = [asyncio.create_task(ask(running, str(n), max_tokens=60_000)) for n in range(6)]
        await running.becomes(SIZE, 8)
        stopping = asyncio.create_task(running.picker.stop())
        assert [200] * 4 == [status for status, _ in await asyncio.gather(*answers)]
        await stopping
        told = [task.result() for task in late if task.done()]
        assert 4 == sum(
            status == 503 and headers["x-llm-d-request-dropped-reason"] == "rejected-shutting-down"
            for status, headers in told
        )
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


EVICTING = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- {type: active-request-scorer}
- {type: max-score-picker}
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
flowControl: {saturationDetector: {pluginRef: concurrency-detector}, enableEviction: true}
"""


async def test_sheddable_work_is_ended_for_others_where_answers_pass_the_picker(tmp_path: Path) -> None:
    """429, before its first byte; who is more important goes in its place."""
    file = tmp_path / "picker.yaml"
    file.write_text(EVICTING)
    async with foreign(tmp_path, 1, picker_flags=("--config-file", str(file))) as running:
        objective = {
            "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective", "metadata": {"name": "spare"},
            "spec": {"priority": -1, "poolRef": {"name": "p"}},
        }  # fmt: skip
        running.file.write_text(yaml.safe_dump_all([*running.documents(running.ports), objective]))
        await running.becomes("igw_config_reloads_total", 1)

        async def spare() -> tuple[int, str]:
            asked = with_header(running, "x-llm-d-inference-objective", "spare", max_tokens=20_000)
            async with asked as response:
                await response.read()
                return response.status, response.headers.get("x-llm-d-request-dropped-reason", "")

        victim = asyncio.create_task(spare())
        await running.becomes("igw_inflight_requests", 1)
        status, _ = await ask(running, "important", max_tokens=10)
        assert 200 == status
        assert (429, "evicted") == await victim
