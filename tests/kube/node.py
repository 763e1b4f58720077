"""A stand-in for scheduler and kubelet: runs the Pods of a namespace that kubectl or anybody makes, each as a process at an address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from igw.stack.child import Child
from tests.kube.api import Api
from tests.kube.kubelet import Kubelet

_NUMBERS = itertools.count()


def loopback() -> str:
    """Return an address of this machine that no other Pod has, nor one of another run of the tests at this time."""
    number = next(_NUMBERS)
    return f"127.{1 + os.getpid() % 250}.{number // 250}.{number % 250 + 1}"


class Node:
    """Takes every Pod: binds it, runs `igw` with the arguments of its first container, and says that it is ready.

    A Pod that is deleted is Terminating while its process ends. Probes, images and limits mean nothing here.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._kubelet = Kubelet(api)
        self._namespace = namespace
        self._ends: dict[str, asyncio.Event] = {}
        self.addresses: dict[str, str] = {}
        """Where each Pod that is ready listens, by name; those that ended too."""

    async def run(self) -> None:
        """Run Pods until cancelled, which ends them all."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        async with asyncio.TaskGroup() as pods:
            async for event in self._api.watch(path):
                pod = event["object"]
                name = pod["metadata"]["name"]
                if event["type"] == "DELETED":
                    del self._ends[name]
                elif name not in self._ends:
                    self._ends[name] = asyncio.Event()
                    pods.create_task(self._live(name, pod["spec"]["containers"][0]["args"]))
                elif "deletionTimestamp" in pod["metadata"]:
                    self._ends[name].set()

    async def _live(self, name: str, arguments: list[str]) -> None:
        ip = loopback()
        await self._bind(name)
        process = Child(name, [sys.executable, "-m", "igw", *arguments, "--address", ip])
        try:
            await process.start()
            self.addresses[name] = ip
            await self._kubelet.status(self._namespace, name, ready=True, ip=ip)
            await self._ends[name].wait()
        finally:
            await process.stop()
        await self._kubelet.gone(self._namespace, name)

    async def _bind(self, name: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self._api.ask("POST", f"/api/v1/namespaces/{self._namespace}/pods/{name}/binding", binding)


@asynccontextmanager
async def node(api: Api, namespace: str) -> AsyncIterator[Node]:
    """Run a node within the block."""
    made = Node(api, namespace)
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
