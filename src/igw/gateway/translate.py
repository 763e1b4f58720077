"""Manifests and settings -> everything Envoy is to know: pure. Telling Envoy is not done here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from igw.config.manifests import Manifests
from igw.discovery.snapshot import pools as pool_snapshots
from igw.gateway import clusters
from igw.gateway.body_routing import body_routing
from igw.gateway.listeners import for_listener, listener_name
from igw.gateway.routes import route_configuration
from igw.gateway.settings import GatewaySettings
from igw.gateway.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources, XdsSnapshot, resource


def translate(manifests: Manifests, settings: GatewaySettings) -> XdsSnapshot:
    """Return the listeners, routes, clusters and endpoints for *manifests*."""
    pickers, members = _pools_by_picker(manifests, settings), pool_snapshots(manifests)
    asked = [*pickers, *({settings.body_router} - {"", *pickers})]
    named = [
        (listener_name(gateway, listener), gateway, listener)
        for gateway in manifests.gateways
        for listener in gateway.spec.listeners
    ]
    return XdsSnapshot(
        {
            CLUSTER: _resources(
                CLUSTER,
                [
                    *(clusters.for_picker(each, settings) for each in asked),
                    *(clusters.for_picker_log(each, settings) for each in pickers),
                    *(clusters.for_pool(pool, members[pool.key], settings) for pool in manifests.pools),
                ],
            ),
            ENDPOINTS: _resources(
                ENDPOINTS,
                (clusters.assignment(pool, members[pool.key], settings) for pool in manifests.pools),
                "cluster_name",
            ),
            LISTENER: _resources(
                LISTENER,
                (
                    for_listener(
                        gateway, listener, settings, pickers, body_routing(gateway, listener, manifests)
                    )
                    for _, gateway, listener in named
                ),
            ),
            ROUTES: _resources(
                ROUTES,
                (
                    route_configuration(name, gateway, listener, manifests, settings)
                    for name, gateway, listener in named
                ),
            ),
        }
    )


def _pools_by_picker(manifests: Manifests, settings: GatewaySettings) -> dict[str, list[str]]:
    """Return the clusters of the pools each picker serves; the default picker is there even with none."""
    pickers: dict[str, list[str]] = {settings.picker: []}
    for pool in manifests.pools:
        pickers.setdefault(settings.picker_of(pool.key), []).append(clusters.pool_cluster(pool.key))
    return pickers


def _resources(type_url: str, written: Iterable[dict[str, Any]], key: str = "name") -> Resources:
    return {fields[key]: resource(type_url, fields) for fields in written}
