"""Clusters: the pools' (endpoints over EDS, the picker's choice honoured) and the pickers' own."""

from __future__ import annotations

from typing import Any

from igw.config.inference import InferencePool
from igw.discovery.snapshot import H2C
from igw.endpoint import Endpoint, Pool
from igw.gateway.filters import picker_cluster, picker_log_cluster
from igw.gateway.settings import GatewaySettings, PickerTls
from igw.gateway.xds import socket_address, split_hostport, typed

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
"""The name the picker's gRPC health service answers to (protocol 004)."""

_DESTINATION = "x-gateway-destination-endpoint"

# Envoy's defaults (1,024 connections and requests, 3 retries at a time) are for services that answer in milliseconds.
_NO_LIMIT = 1_000_000
_LIMITS = {
    "thresholds": [
        {
            "priority": "DEFAULT",
            "max_connections": _NO_LIMIT,
            "max_pending_requests": _NO_LIMIT,
            "max_requests": _NO_LIMIT,
            "max_retries": _NO_LIMIT,
        }
    ]
}


# With no healthy host left a request fails at once instead of trying a dead one, and what a health check found counts
# at once: Envoy would gather such news for a second.
_NO_PANIC = {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"}

# A failed health check does not end streams that are under way; pings that are not answered do.
_KEEPALIVE = {"connection_keepalive": {"interval": "1s", "timeout": "2s"}}


def pool_cluster(pool: str) -> str:
    """Return the name of the cluster for *pool* (`namespace/name`)."""
    return f"pool/{pool}"


def for_pool(pool: InferencePool, members: Pool, settings: GatewaySettings) -> dict[str, Any]:
    """Return the cluster of *pool*, whose endpoints are *members*."""
    http2 = pool.spec.app_protocol == H2C
    # A server of gRPC has its `/health` elsewhere, where it speaks HTTP/1.1.
    apart = any(endpoint.http_port is not None for endpoint in members.endpoints)
    return {
        "name": pool_cluster(pool.key),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "1s",
        "load_balancing_policy": _override_host(),
        "common_lb_config": _NO_PANIC,
        # an endpoint that was deleted is gone, even if it still answers
        "ignore_health_on_host_removal": True,
        "circuit_breakers": _LIMITS,
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {
                    "path": settings.health_path,
                    "codec_client_type": "HTTP2" if http2 and not apart else "HTTP1",
                },
            }
        ],
        "typed_extension_protocol_options": _protocol(
            {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
        ),
    }


def _override_host() -> dict[str, Any]:
    # The pick must be a host of the cluster, an ordered list is walked on retries, and without a pick the fallback
    # policy chooses among ready servers: failing open works, and no header can lead out of the pool. A pick is asked even
    # where the health check failed, since the picker knows more; only the fallback looks at health.
    least_request = {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": typed("load_balancing_policies.least_request.v3.LeastRequest"),
    }
    sources = [{"metadata": {"key": "envoy.lb", "path": [{"key": _DESTINATION}]}}, {"header": _DESTINATION}]
    return {
        "policies": [
            {
                "typed_extension_config": {
                    "name": "envoy.load_balancing_policies.override_host",
                    "typed_config": typed(
                        "load_balancing_policies.override_host.v3.OverrideHost",
                        override_host_sources=sources,
                        fallback_policy={"policies": [{"typed_extension_config": least_request}]},
                    ),
                }
            }
        ]
    }


def _protocol(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "upstreams.http.v3.HttpProtocolOptions", explicit_http_config=options
        )
    }


def assignment(pool: InferencePool, members: Pool, settings: GatewaySettings) -> dict[str, Any]:
    """Return the endpoints of *pool*, which are *members*, as EDS gives them."""
    hosts: list[dict[str, Any]] = [{"endpoint": _host(endpoint)} for endpoint in members.endpoints]
    room = settings.waiting_room_of(pool.key, http2=pool.spec.app_protocol == H2C)
    if room:
        hosts.append(_waiting_room(room))
    return {"cluster_name": pool_cluster(pool.key), "endpoints": [{"lb_endpoints": hosts}] if hosts else []}


def _host(endpoint: Endpoint) -> dict[str, Any]:
    host = {"address": socket_address(endpoint.address, endpoint.port)}
    return (
        host
        if endpoint.http_port is None
        else host | {"health_check_config": {"port_value": endpoint.http_port}}
    )


def _waiting_room(hostport: str) -> dict[str, Any]:
    """Return the picker's waiting room as a host of a pool: a pick of it is honoured, and as one that is not healthy it gets nothing else."""
    endpoint = {
        "address": socket_address(*split_hostport(hostport)),
        "health_check_config": {"disable_active_health_check": True},
    }
    return {"endpoint": endpoint, "health_status": "UNHEALTHY"}


def for_picker_log(hostport: str, settings: GatewaySettings) -> dict[str, Any]:
    """Return the cluster that the picker at *hostport* is told by of requests' ends.

    It goes on while the picker says that it stops: those that wait in its queue need the room.
    """
    cluster = for_picker(hostport, settings)
    name = picker_log_cluster(hostport)
    del cluster["health_checks"]
    return cluster | {"name": name, "load_assignment": cluster["load_assignment"] | {"cluster_name": name}}


def for_picker(hostport: str, settings: GatewaySettings) -> dict[str, Any]:
    """Return the cluster of the picker at *hostport*."""
    host, port = split_hostport(hostport)
    name = picker_cluster(hostport)
    return {
        "name": name,
        "type": "STATIC" if _is_ip(host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "common_lb_config": _NO_PANIC,
        "circuit_breakers": _LIMITS,
        # a picker that is down or hangs is out before a request has to find out
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "no_traffic_healthy_interval": "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                # behind one address of several pickers, a connection that is kept would go on asking the one that stops
                "reuse_connection": False,
                "grpc_health_check": {"service_name": EXT_PROC_SERVICE},
            }
        ],
        "typed_extension_protocol_options": _protocol(
            {"http2_protocol_options": _KEEPALIVE if settings.picker_pings else {}}
        ),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(host, port)}}]}],
        },
    } | _tls(settings.picker_tls, host)


def _is_ip(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _tls(tls: PickerTls | None, host: str) -> dict[str, Any]:
    """Return what a cluster says of TLS to *host*; nothing without."""
    if tls is None:
        return {}
    named = {} if _is_ip(host) else {"sni": host}
    context: dict[str, Any] = {"alpn_protocols": ["h2"]}
    if tls.ca_file is not None:
        san = {"san_type": "IP_ADDRESS" if _is_ip(host) else "DNS", "matcher": {"exact": host}}
        context["validation_context"] = {
            "trusted_ca": {"filename": str(tls.ca_file.resolve())},
            "match_typed_subject_alt_names": [san],
        }
    config = typed("transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=context, **named)
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": config}}
