"""A stand-in for the kubelet: Pods that get an address and become ready, unready, and go, when a test says so. Runs no containers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.kube.api import Api

AT_ONCE = 16
"""Pods that are written at the same time; the API server takes them on few cores."""


class Kubelet:
    """Writes Pods and what is true of them. Nothing changes by itself."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(
        self,
        namespace: str,
        name: str,
        ip: str,
        labels: Mapping[str, str],
        *,
        annotations: Mapping[str, str] | None = None,
        ready: bool = True,
    ) -> None:
        """Create a Pod that runs at *ip* (loopback is allowed) and is *ready*."""
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations or {})}
        # Bound to a node, so that a Pod that is deleted stays and is Terminating until `gone` says that its containers ended.
        spec = {"nodeName": "node", "containers": [{"name": "server", "image": "model-server"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        await self._api.ask("POST", _pods(namespace), pod)
        await self.status(namespace, name, ready=ready, ip=ip)

    async def run_many(self, namespace: str, addresses: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Create a ready Pod for each name -> IP of *addresses*."""
        free = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, ip: str) -> None:
            async with free:
                await self.run(namespace, name, ip, labels)

        async with asyncio.TaskGroup() as group:
            for name, ip in addresses.items():
                group.create_task(one(name, ip))

    async def status(
        self, namespace: str, name: str, *, ready: bool, ip: str = "", phase: str = "Running"
    ) -> None:
        """Write a Pod's status as its kubelet does; it keeps its address unless *ip* is given."""
        said = "True" if ready else "False"
        status: dict[str, Any] = {
            "phase": phase,
            "conditions": [{"type": kind, "status": said} for kind in ("Ready", "ContainersReady")],
        }
        if ip:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1"}
        await self._api.patch(f"{_pods(namespace, name)}/status", {"status": status})

    async def delete(self, namespace: str, name: str, grace_seconds: int = 30) -> None:
        """Ask for the end of a Pod: it is Terminating until `gone`; with 0 seconds it is gone at once."""
        await self._api.ask("DELETE", _pods(namespace, name), {"gracePeriodSeconds": grace_seconds})

    async def gone(self, namespace: str, name: str) -> None:
        """Say that the containers of a Terminating Pod have ended, which removes it."""
        await self.delete(namespace, name, 0)


def _pods(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")
