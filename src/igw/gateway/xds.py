"""Resources as Envoy's xDS knows them: plain dictionaries checked against the protobuf descriptors, and a set of them.

What is in a resource is decided elsewhere in this room; how it travels is `igw.gateway.ads`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2 as _cel  # noqa: F401
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2 as _otel  # noqa: F401
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2 as _ext_proc  # noqa: F401
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2 as _mutation  # noqa: F401
from envoy.extensions.filters.http.lua.v3 import lua_pb2 as _lua  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as _manager,  # noqa: F401
)
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2 as _least  # noqa: F401
from envoy.extensions.load_balancing_policies.override_host.v3 import override_host_pb2 as _override  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2 as _previous  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _upstream  # noqa: F401
from google.protobuf import json_format
from google.protobuf.message import Message

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""The resource types, in the order in which additions are made."""

_MESSAGES: dict[str, type[Message]] = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}

_PACKAGE = "type.googleapis.com/envoy.extensions."

Resources = Mapping[str, Message]


class XdsSnapshot(msgspec.Struct, frozen=True):
    """Everything Envoy is to know, at one instant: type URL -> resource name -> message."""

    resources: Mapping[str, Resources]

    def of(self, type_url: str) -> Resources:
        """Return the resources of one type by name; none is no error."""
        return self.resources.get(type_url, {})


def typed(extension: str, **fields: Any) -> dict[str, Any]:
    """Return *fields* as a `typed_config` of the message `envoy.extensions.<extension>`."""
    return {"@type": _PACKAGE + extension, **fields}


def resource(type_url: str, fields: dict[str, Any]) -> Message:
    """Return *fields* as a message; a field the descriptor does not have is a `ParseError`."""
    message = _MESSAGES[type_url]()
    json_format.ParseDict(fields, message)
    return message


def duration(seconds: float) -> str:
    """Return *seconds* as protobuf's JSON writes a Duration."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def socket_address(host: str, port: int) -> dict[str, Any]:
    """Return an address of Envoy's; *host* has no brackets."""
    return {"socket_address": {"address": host, "port_value": port}}


def split_hostport(hostport: str) -> tuple[str, int]:
    """Return host (without brackets) and port; `ValueError` where that is not what *hostport* is."""
    host, colon, port = hostport.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{hostport!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
