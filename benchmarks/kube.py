"""A picker in a cluster: a real API server and etcd, `igw epp` as a process of its own, a thousand Pods whose metrics it scrapes.

`cores` and `memory_mb` are the picker's, without requests. `first_*_ms` is the time from the moment in which the API server was told that a
Pod is ready to the first request that the picker sent there; meanwhile other Pods change. It is asked every 2 ms, for that Pod only.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.backend import Backend
from benchmarks.cluster import resident_mb
from benchmarks.proxy import cpu_seconds
from igw.kubernetes.crds.definitions import text as crds
from tests.extproc import wire
from tests.kube.api import Api
from tests.kube.cluster import Cluster, missing
from tests.kube.containers import Picker, picker
from tests.kube.etcd import write_pods
from tests.kube.kubelet import Kubelet

_PODS = 1000
_CHANGES_PER_SECOND = 10
_SECONDS = 15.0
_SAMPLES = 200
_NAMESPACE = "llm"
_LABELS = {"app": "llama"}
_NEW, _NEW_IP = "new", "127.99.255.1"


def rows() -> list[dict[str, Any]]:
    """Return what a picker takes with and without changes; one row that says why if there can be no cluster."""
    if why := missing():
        return [{"skipped": why}]
    with tempfile.TemporaryDirectory(prefix="igw-bench-") as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start()
            cluster.apply(crds())
            cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
            cluster.kubectl("create", "namespace", _NAMESPACE)
            return uvloop.run(_measured(cluster))
        finally:
            cluster.stop()


async def _measured(cluster: Cluster) -> list[dict[str, Any]]:
    # Every Pod has an address of its own, all of them of this machine.
    servers = await asyncio.get_running_loop().create_server(Backend, "0.0.0.0", 0)
    port = servers.sockets[0].getsockname()[1]
    await asyncio.to_thread(cluster.apply, _pool(port))
    addresses = {f"gpu-{n}": f"127.99.{n // 250}.{n % 250 + 1}" for n in range(_PODS)}
    await write_pods(cluster, _NAMESPACE, addresses, _LABELS)
    arguments = (
        *("epp", "--pool-name", "llama", "--pool-namespace", _NAMESPACE),
        *("--secure-serving=false", "--log-level", "error"),
    )
    api = Api(cluster)
    async with (
        contextlib.aclosing(api),
        servers,
        picker(cluster.folder / "picker.log", cluster.kubeconfig, arguments) as running,
    ):
        began = time.perf_counter()
        await running.ready()
        known = {"known_after_s": round(time.perf_counter() - began, 2)}
        kubelet = Kubelet(api)
        still = await _used(running)
        async with _changing(kubelet):
            busy = await _used(running)
            routed = await _routed(kubelet, running)
    return [
        {"pods": _PODS, "changes_per_s": 0, **still, **known},
        {"pods": _PODS, "changes_per_s": _CHANGES_PER_SECOND, **busy, **routed},
    ]


async def _used(running: Picker) -> dict[str, Any]:
    """Return what the picker takes while nobody asks it anything."""
    pid = running.process.pid
    cpu, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(_SECONDS)
    used = (cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
    return {"cores": used, "memory_mb": resident_mb(pid)}


@contextlib.asynccontextmanager
async def _changing(kubelet: Kubelet) -> AsyncIterator[None]:
    """Make Pods unready and ready again, one after the other, within the block."""

    async def change() -> None:
        began, done = time.perf_counter(), 0
        while True:
            await kubelet.status(_NAMESPACE, f"gpu-{done // 2 % _PODS}", ready=done % 2 == 1)
            done += 1
            await asyncio.sleep(max(0.0, began + done / _CHANGES_PER_SECOND - time.perf_counter()))

    changing = asyncio.create_task(change())
    try:
        yield
    finally:
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing


async def _routed(kubelet: Kubelet, running: Picker) -> dict[str, Any]:
    """Return how long it took until a Pod that became ready got a request, in ms."""
    await kubelet.run(_NAMESPACE, _NEW, _NEW_IP, _LABELS, ready=False)
    call, waits = wire.calling(running.channel), []
    for _ in range(_SAMPLES):
        began = time.perf_counter()
        await kubelet.status(_NAMESPACE, _NEW, ready=True)
        await _until(call, routed=True)
        waits.append(1000 * (time.perf_counter() - began))
        await kubelet.status(_NAMESPACE, _NEW, ready=False)
        await _until(call, routed=False)
    waits.sort()
    return {
        "first_p50_ms": round(waits[_SAMPLES // 2]),
        "first_p99_ms": round(waits[int(0.99 * _SAMPLES)]),
        "first_max_ms": round(waits[-1]),
    }


async def _until(call: Any, *, routed: bool) -> None:
    while await _is_routed(call) != routed:  # noqa: ASYNC110 - only who asks is told
        await asyncio.sleep(0.002)


async def _is_routed(call: Any) -> bool:
    """Return whether a request that may go to the new Pod only goes there."""
    messages = [wire.headers("/v1/completions", subset=[_NEW_IP]), wire.body(wire.prompt("m"))]
    replies = [reply async for reply in call(iter(messages))]
    return not any(reply.HasField("immediate_response") for reply in replies)


def _pool(port: int) -> dict[str, Any]:
    spec = {
        "selector": {"matchLabels": _LABELS},
        "targetPorts": [{"number": port}],
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
    }
    metadata = {"name": "llama", "namespace": _NAMESPACE}
    api_version = "inference.networking.k8s.io/v1"
    return {"apiVersion": api_version, "kind": "InferencePool", "metadata": metadata, "spec": spec}
