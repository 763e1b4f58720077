"""Following a cluster: CPU and memory of a picker whose Pods change, scraping and requests left out.

The API server is a process of its own that sends ready Pods of 5 KB and then changes some of them every second, each from ready to unready or
back. Measured are watch, decoding, snapshot and its adoption by the picker, in seconds of CPU per second (`cores`); `memory_mb` is what the
process grew by while it learned of the Pods, `longest_ms` the longest time for which an adoption kept requests waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, PoolSpec, PortNumber, Selector
from igw.discovery.cluster import Scope
from igw.discovery.source import Found, PickerConfigFile
from igw.discovery.watching import ClusterSettings, ClusterSource
from igw.errors import ConfigError

_SECONDS = 6.0
_TICKS_PER_SECOND = 50


def cluster() -> list[dict[str, Any]]:
    """Return one row per size and pace of a pool."""
    return [uvloop.run(_measured(*case)) for case in ((1000, 0), (1000, 10), (5000, 10), (5000, 200))]


async def _measured(pods: int, changes_per_second: int) -> dict[str, Any]:
    picker, known = Picker(PickerSettings(paths=())), asyncio.Event()
    adoptions: list[float] = []
    before = resident_mb()

    def adopt(found: Found) -> None:
        began = time.perf_counter()
        picker.use(found.manifests, found.pools)
        adoptions.append(time.perf_counter() - began)
        if sum(map(len, found.pools.values())) == pods:
            known.set()

    def refuse(error: ConfigError) -> None:
        raise error

    async with _server(pods, changes_per_second) as address:
        source, stop = ClusterSource(_settings(address), PickerConfigFile()), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            began = time.perf_counter()
            group.create_task(source.watch(source.read(), adopt, refuse, stop))
            async with asyncio.timeout(60):
                await known.wait()
            known_after, grown = time.perf_counter() - began, resident_mb() - before
            adoptions.clear()
            cpu, began = time.process_time(), time.perf_counter()
            await asyncio.sleep(_SECONDS)
            used = (time.process_time() - cpu) / (time.perf_counter() - began)
            stop.set()
    return {
        "pods": pods,
        "changes_per_s": changes_per_second,
        "cores": round(used, 4),
        "adoptions_per_s": round(len(adoptions) / _SECONDS, 1),
        "longest_ms": round(1000 * max(adoptions, default=0.0), 1),
        "known_after_s": round(known_after, 2),
        "memory_mb": round(grown, 1),
    }


def _settings(address: str) -> ClusterSettings:
    config = KubeConfig.from_server(address).get()
    assert config is not None
    spec = PoolSpec(selector=Selector(match_labels={}), target_ports=(PortNumber(number=8000),))
    meta = ObjectMeta(name="llama", namespace="llm")
    pool = InferencePool(api_version="v1", kind="InferencePool", metadata=meta, spec=spec)
    return ClusterSettings(config._replace(user=User()), Scope("llm", "llama", standing=pool))


def resident_mb(process: int | str = "self") -> float:
    """Return the memory of a process, in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


# The API server -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _server(pods: int, changes_per_second: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.cluster", str(pods), str(changes_per_second),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def _pod(number: int, version: int, *, ready: bool) -> dict[str, Any]:
    filler = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(60)]
    conditions = [
        {"type": kind, "status": str(ready)}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    metadata = {
        "name": f"llama-7f9c-{number}",
        "namespace": "llm",
        "resourceVersion": str(version),
        "labels": {"app": "llama"},
    }
    spec = {"containers": [{"name": "server", "env": filler}]}
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return {"metadata": metadata, "spec": spec, "status": {"podIP": ip, "conditions": conditions}}


async def _serve(pods: int, changes_per_second: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await watch(request)
        begin = int(request.query.get("continue", 0))
        end = begin + int(request.query.get("limit", pods))
        items = [_pod(number, 1, ready=True) for number in range(begin, min(end, pods))]
        meta = {"resourceVersion": "1", "continue": str(end) if end < pods else ""}
        return web.json_response({"metadata": meta, "items": items})

    async def watch(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        sent, began = 0, time.monotonic()
        while True:
            await asyncio.sleep(1 / _TICKS_PER_SECOND)
            due = int((time.monotonic() - began) * changes_per_second)
            for number in range(sent, due):
                pod = _pod(number // 2 % pods, number + 2, ready=number % 2 == 1)
                await stream.write(json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n")
            sent = due

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/llm/pods", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
