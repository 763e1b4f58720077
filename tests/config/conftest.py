"""Manifests for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from igw.config.manifests import Manifests, load

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, annotations: {igw.dev/bind-address: 127.0.0.2}}
spec:
  gatewayClassName: igw
  listeners: [{name: http, port: 8080, protocol: HTTP}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat}
spec:
  parentRefs: [{name: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v1}}]
    backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: llama}]
"""
POOL = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec:
  selector: {matchLabels: {app: llama}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: picker, port: {number: 9002}}
"""
ENDPOINTS = """
endpoints:
- {name: one, address: 10.0.0.1, port: "8000", labels: {app: llama}}
- {name: two, address: "fd00::2", labels: {app: llama}}
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Manifests]:
    """Loads the manifests above after replacing a piece of their text."""

    def change(old: str = "", new: str = "", extra: str = "") -> Manifests:
        text = "\n---\n".join((GATEWAY, ROUTE, POOL, ENDPOINTS) + ((extra,) if extra else ()))
        assert old in text
        (tmp_path / "all.yaml").write_text(text.replace(old, new, 1) if old else text)
        return load([tmp_path / "all.yaml"])

    return change
