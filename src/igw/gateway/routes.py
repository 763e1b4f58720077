"""HTTPRoutes -> one route configuration per listener, in the Gateway API's order of precedence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from igw.config.durations import seconds
from igw.config.gateway_api import (
    BackendRef,
    Gateway,
    HeaderMatch,
    HTTPRoute,
    Listener,
    PathMatch,
    RouteMatch,
    Rule,
)
from igw.config.inference import InferencePool
from igw.config.manifests import Manifests
from igw.config.references import attached
from igw.discovery.snapshot import H2C, rewrites
from igw.gateway import filters, grpc_usage
from igw.gateway.body_routing import BodyRouting, body_routing, completed
from igw.gateway.clusters import pool_cluster
from igw.gateway.settings import GatewaySettings
from igw.gateway.xds import duration, typed

STREAMED_FROM_BYTES = 1 << 20
"""Bodies of at least this declared length pass through the picker in pieces: kept whole, each would cost several copies of itself."""

_LARGE = {"name": "content-length", "range_match": {"start": STREAMED_FROM_BYTES, "end": 2**62}}


class _Backend(NamedTuple):
    """A pool, and whether its answers are shown to the picker."""

    pool: InferencePool
    rewritten: bool


def route_configuration(
    name: str, gateway: Gateway, listener: Listener, manifests: Manifests, settings: GatewaySettings
) -> dict[str, Any]:
    """Return what *listener* does with each host, path, method and header."""
    hosts: dict[str, list[tuple[RouteMatch, HTTPRoute, Rule]]] = {}
    for route in sorted(manifests.routes, key=lambda item: (item.namespace, item.name)):
        for host in attached(gateway, listener, route):
            entries = hosts.setdefault(host, [])
            entries += [
                (match, route, rule) for rule in route.spec.rules for match in rule.matches or (RouteMatch(),)
            ]
    rewritten = rewrites(manifests)
    pools = {pool.key: _Backend(pool, pool.key in rewritten) for pool in manifests.pools}
    routing = body_routing(gateway, listener, manifests)
    return {
        "name": name,
        "ignore_port_in_host_matching": True,
        # removed by the router, after the picker has read them
        "request_headers_to_remove": [*filters.PICKER_HEADERS, filters.QUEUE_UPDATES],
        "virtual_hosts": [
            {
                "name": host,
                "domains": [host],
                "request_body_buffer_limit": settings.max_request_body_bytes,
                "routes": _completed(
                    [
                        written
                        for match, route, rule in sorted(entries, key=lambda entry: precedence(entry[0]))
                        for written in _routes(match, route, rule, pools, settings)
                    ],
                    routing,
                ),
            }
            for host, entries in hosts.items()
        ],
    }


def _completed(routes: list[dict[str, Any]], routing: BodyRouting | None) -> list[dict[str, Any]]:
    return completed(routes, routing, _LARGE) if routing else routes


def precedence(match: RouteMatch) -> tuple[int, ...]:
    """Return a sort key, first served first.

    The Gateway API's order: exact path, longest prefix, a method, most headers, most query parameters; what is
    then still equal keeps its order (routes by namespace and name, rules as written). Regular expressions, whose
    place it leaves open, come after prefixes but before `/`, which would leave them nothing.
    """
    path = match.path
    if path.type == "Exact":
        rank, length = 0, 0
    elif path.type == "RegularExpression":
        rank, length = 2, len(path.value)
    else:
        length = len(path.value.rstrip("/"))
        rank = 1 if length else 3
    return rank, -length, match.method is None, -len(match.headers), -len(match.query_params)


def _routes(
    match: RouteMatch,
    route: HTTPRoute,
    rule: Rule,
    pools: dict[str, _Backend],
    settings: GatewaySettings,
) -> Iterator[dict[str, Any]]:
    """Yield what becomes of requests that fit *match*: those with large bodies first, where the route leaves that to us."""
    if route.request_body == "Auto":
        large = _route(match, route, rule, pools, settings, streamed=True)
        large["match"]["headers"] = [*large["match"].get("headers", ()), _LARGE]
        yield large
    yield _route(match, route, rule, pools, settings, streamed=route.request_body == "Streamed")


def _route(
    match: RouteMatch,
    route: HTTPRoute,
    rule: Rule,
    pools: dict[str, _Backend],
    settings: GatewaySettings,
    *,
    streamed: bool,
) -> dict[str, Any]:
    changes = filters.header_changes(rule.filters)
    written: dict[str, Any] = {"name": f"{route.namespace}/{route.name}", "match": _match(match)}
    if changes:
        written["typed_per_filter_config"] = changes
    backends = [backend for backend in rule.backend_refs if backend.weight]
    if not backends:  # the Gateway API asks for 500; local_replies has the words
        written["direct_response"] = {"status": 500}
        return written
    shares = [_share(backend, route, pools, settings, streamed=streamed) for backend in backends]
    written["route"] = {
        "weighted_clusters": {"clusters": shares},
        **_limits(rule, retried=not streamed),
    }
    return written


def _share(
    backend: BackendRef,
    route: HTTPRoute,
    pools: dict[str, _Backend],
    settings: GatewaySettings,
    *,
    streamed: bool,
) -> dict[str, Any]:
    pool, answers = pools[f"{backend.namespace or route.namespace}/{backend.name}"]
    asked = filters.for_pool(
        pool.key, settings.picker_of(pool.key), fail_open=pool.fail_open, streamed=streamed, answers=answers
    )
    http2 = pool.spec.app_protocol == H2C
    counted = grpc_usage.on() if http2 else {}
    unreachable = settings.waiting_room and not settings.waiting_room_of(pool.key, http2=http2)
    changes = filters.header_changes(backend.filters, dropped=[filters.QUEUE_UPDATES] if unreachable else ())
    return {
        "name": pool_cluster(pool.key),
        "weight": backend.weight,
        "typed_per_filter_config": {**asked, **counted, **changes},
    }


def _limits(rule: Rule, *, retried: bool) -> dict[str, Any]:
    """Return timeouts and retries: a request that never reached a server is tried on the next of the pick's list.

    A streamed body is not kept, so there is nothing to send again; and Envoy 1.40 sends it twice when trailers follow it and the route has
    a retry policy.
    """
    request, one_try = seconds(rule.timeouts.request or "0s"), seconds(rule.timeouts.backend_request or "0s")
    if not retried:  # the only try is the request
        return {"timeout": duration(min(filter(None, (request, one_try)), default=0.0))}
    retry: dict[str, Any] = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 2,
        # the fallback policy does not know which hosts this request has met already
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 5,
        # the next server is another one: there is nothing to wait for
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
    }
    if one_try:
        retry["per_try_timeout"] = duration(one_try)
    return {"timeout": duration(request), "retry_policy": retry}


def _match(match: RouteMatch) -> dict[str, Any]:
    written = _path(match.path)
    headers = [_value(item.name, item) for item in match.headers]
    if match.method is not None:
        headers.append({"name": ":method", "string_match": {"exact": match.method}})
    if headers:
        written["headers"] = headers
    if match.query_params:
        written["query_parameters"] = [_value(item.name, item) for item in match.query_params]
    return written


def _value(name: str, match: HeaderMatch) -> dict[str, Any]:
    how = {"exact": match.value} if match.type == "Exact" else {"safe_regex": {"regex": match.value}}
    return {"name": name, "string_match": how}


def _path(path: PathMatch) -> dict[str, Any]:
    if path.type == "Exact":
        return {"path": path.value}
    if path.type == "RegularExpression":
        return {"safe_regex": {"regex": path.value}}
    prefix = path.value.rstrip("/")
    # by whole segments; Envoy has no such form of /
    return {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}
