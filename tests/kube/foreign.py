"""Definitions of kinds that others define and our manifests have objects of: they take any object, so that all of it can be applied."""

from __future__ import annotations

from typing import Any

KINDS = {
    "gateway.networking.k8s.io/v1": ("Gateway", "HTTPRoute", "GatewayClass"),
    "networking.istio.io/v1": ("DestinationRule",),
    "networking.istio.io/v1alpha3": ("EnvoyFilter",),
    "networking.gke.io/v1": (
        "HealthCheckPolicy",
        "GCPBackendPolicy",
        "GCPRoutingExtension",
        "GCPTrafficExtension",
    ),
    "monitoring.coreos.com/v1": ("ServiceMonitor",),
    "monitoring.googleapis.com/v1": ("PodMonitoring",),
    "agentgateway.dev/v1alpha1": ("AgentgatewayBackend",),
    "apim.googleapis.com/v1": ("ApigeeBackendService",),
}
"""The group and version in which each kind is served today."""

_CLUSTER_WIDE = {"GatewayClass"}


def definitions() -> list[dict[str, Any]]:
    """Return a CustomResourceDefinition for each."""
    return [_definition(version, kind) for version, kinds in KINDS.items() for kind in kinds]


def _definition(api_version: str, kind: str) -> dict[str, Any]:
    group, _, version = api_version.partition("/")
    plural = f"{kind.lower()}s"  # any name will do: nobody asks for them by it
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    approved = {"api-approved.kubernetes.io": "unapproved, for tests"} if group.endswith(".k8s.io") else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": approved},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Cluster" if kind in _CLUSTER_WIDE else "Namespaced",
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
