"""Ready Pods written straight into etcd, which is twenty times as fast as by the API: for thousands of them."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.kube.cluster import Cluster

_AT_ONCE = 100
"""Pods in one transaction; etcd takes 128 operations."""


async def write_pods(
    cluster: Cluster, namespace: str, addresses: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Write a ready Pod of ordinary size for each name -> IP of *addresses*."""
    left = iter(addresses.items())
    async with aiohttp.ClientSession(cluster.etcd) as session:
        while some := list(itertools.islice(left, _AT_ONCE)):
            puts = [{"requestPut": _put(namespace, name, ip, labels)} for name, ip in some]
            async with session.post("/v3/kv/txn", json={"success": puts}) as answer:
                assert answer.ok, await answer.text()


def _put(namespace: str, name: str, ip: str, labels: Mapping[str, str]) -> dict[str, str]:
    filler = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(40)]
    status = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": name,
            "labels": dict(labels),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"name": "server", "image": "model-server", "env": filler}]},
        "status": status,
    }
    return {
        "key": base64.b64encode(f"/registry/pods/{namespace}/{name}".encode()).decode(),
        "value": base64.b64encode(json.dumps(made).encode()).decode(),
    }
