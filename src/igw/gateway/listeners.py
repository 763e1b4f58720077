"""Listeners: one per Gateway listener, with the HTTP connection manager that serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from igw.config.gateway_api import Gateway, Listener
from igw.gateway.body_routing import BodyRouting, with_body_router
from igw.gateway.completion_log import access_logs
from igw.gateway.filters import http_filters
from igw.gateway.local_replies import local_reply_config
from igw.gateway.settings import GatewaySettings
from igw.gateway.xds import duration, socket_address, typed


def listener_name(gateway: Gateway, listener: Listener) -> str:
    """Return `namespace/gateway/listener`."""
    return f"{gateway.key}/{listener.name}"


def for_listener(
    gateway: Gateway,
    listener: Listener,
    settings: GatewaySettings,
    pools_by_picker: Mapping[str, Sequence[str]],
    routing: BodyRouting | None = None,
) -> dict[str, Any]:
    """Return the Envoy listener; its routes come over RDS, so that an edit of them drains nothing.

    *routing* says how bodies are looked at before a route is chosen, if they are.
    """
    port = 0 if settings.free_ports else listener.port
    return {
        "name": listener_name(gateway, listener),
        "address": socket_address(gateway.bind_address, port),
        "enable_reuse_port": settings.reuse_port,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _manager(
                            listener_name(gateway, listener), settings, pools_by_picker, routing
                        ),
                    }
                ]
            }
        ],
    }


def _manager(
    name: str,
    settings: GatewaySettings,
    pools_by_picker: Mapping[str, Sequence[str]],
    routing: BodyRouting | None,
) -> dict[str, Any]:
    filters = http_filters(settings)
    return typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        rds={"route_config_name": name, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        http_filters=with_body_router(filters, routing, settings) if routing else filters,
        local_reply_config=local_reply_config(by_body=routing is not None),
        access_log=access_logs(pools_by_picker),
        use_remote_address=True,
        generate_request_id=True,
        # a client's own id is kept, and everybody learns the one that logs and the picker use
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        server_header_transformation="PASS_THROUGH",
        normalize_path=True,
        stream_idle_timeout=duration(settings.stream_idle_timeout_seconds),
    )
