"""What objects say of each other: which routes attach to which listener, and references that lead nowhere.

A cluster would put the latter in a status; a file has none, so here they are errors. Single objects are checked elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from igw.config.decode import nearest
from igw.config.gateway_api import Filter, Gateway, HTTPRoute, Listener, ParentRef, RouteMatch
from igw.config.inference import InferencePool
from igw.config.models import POOL_GROUP, InferenceModelRewrite, InferenceObjective
from igw.errors import ConfigError


def check(
    gateways: Sequence[Gateway],
    routes: Sequence[HTTPRoute],
    pools: Sequence[InferencePool],
    sources: Mapping[str, str],
) -> None:
    """Raise `ConfigError` for the first reference that does not resolve, or a port that two listeners want."""
    _check_listeners(gateways, sources)
    known = {pool.key for pool in pools}
    for route in routes:
        source = sources[f"HTTPRoute {route.key}"]
        for index, parent in enumerate(route.spec.parent_refs):
            _check_parent(route, parent, gateways, f"{source} $.spec.parentRefs[{index}]")
        for i, rule in enumerate(route.spec.rules):
            for j, backend in enumerate(rule.backend_refs):
                key = f"{backend.namespace or route.namespace}/{backend.name}"
                if key not in known:
                    raise ConfigError(
                        f"{source} $.spec.rules[{i}].backendRefs[{j}].name",
                        f"there is no InferencePool {key}",
                        nearest(key, known) if known else "",
                    )


def check_pool_refs(
    values: Sequence[InferenceModelRewrite | InferenceObjective],
    pools: Sequence[InferencePool],
    sources: Mapping[str, str],
) -> None:
    """Raise `ConfigError` for the first object that is about no pool of these: group, kind and name count."""
    known = {pool.key for pool in pools}
    for value in values:
        where = f"{sources[f'{value.kind} {value.key}']} $.spec.poolRef"
        ref = value.spec.pool_ref
        for field, written, meant in (("group", ref.group, POOL_GROUP), ("kind", ref.kind, "InferencePool")):
            if written != meant:
                raise ConfigError(f"{where}.{field}", f"`{written}` is no pool's {field}", f"write {meant}")
        if value.pool not in known:
            hint = nearest(value.pool, known) if known else "it must be of the same namespace"
            raise ConfigError(f"{where}.name", f"there is no InferencePool {value.pool}", hint)


def attached(gateway: Gateway, listener: Listener, route: HTTPRoute) -> tuple[str, ...]:
    """Return the host names under which *route* serves at *listener*; none if it is not attached.

    `*` stands for any host. Rules are those of the Gateway API: an intersection of the two lists, the more
    specific name of each pair.
    """
    if not any(_names(parent, route, gateway, listener) for parent in route.spec.parent_refs):
        return ()
    if listener.allowed_routes.namespaces.from_ == "None":
        return ()
    if listener.allowed_routes.namespaces.from_ == "Same" and route.namespace != gateway.namespace:
        return ()
    wanted = route.spec.hostnames or ("*",)
    met = (_intersection(listener.hostname or "*", host) for host in wanted)
    return tuple(dict.fromkeys(host for host in met if host))


def check_rules(route: HTTPRoute, source: str) -> None:
    """Raise `ConfigError` for a rule of *route* that no data plane could follow."""
    for i, rule in enumerate(route.spec.rules):
        where = f"{source} $.spec.rules[{i}]"
        for j, match in enumerate(rule.matches):
            _check_match(match, f"{where}.matches[{j}]")
        _check_filters(rule.filters, f"{where}.filters")
        for j, backend in enumerate(rule.backend_refs):
            _check_filters(backend.filters, f"{where}.backendRefs[{j}].filters")


def _check_match(match: RouteMatch, where: str) -> None:
    path = match.path
    if path.type == "RegularExpression":
        _check_regex(path.value, f"{where}.path.value")
    elif not path.value.startswith("/") or "?" in path.value or "#" in path.value:
        raise ConfigError(
            f"{where}.path.value", f"`{path.value}` is not a path", "a path starts with / and ends before ?"
        )
    for name, matches in (("headers", match.headers), ("queryParams", match.query_params)):
        for index, item in enumerate(matches):
            if item.type == "RegularExpression":
                _check_regex(item.value, f"{where}.{name}[{index}].value")


def _check_filters(filters: Sequence[Filter], where: str) -> None:
    for index, item in enumerate(filters):
        written = (item.request_header_modifier is not None, item.response_header_modifier is not None)
        if written != (item.type == "RequestHeaderModifier", item.type == "ResponseHeaderModifier"):
            field = item.type[0].lower() + item.type[1:]
            raise ConfigError(
                f"{where}[{index}]",
                f"a filter of type {item.type} has exactly the field `{field}` beside its type",
            )


def _check_regex(pattern: str, where: str) -> None:
    # Envoy speaks RE2; what Python refuses RE2 refuses too, the rest Envoy's own answer tells.
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(where, f"`{pattern}` is not a regular expression: {error}") from None


def _check_listeners(gateways: Sequence[Gateway], sources: Mapping[str, str]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for gateway in gateways:
        source = sources[f"Gateway {gateway.key}"]
        names: set[str] = set()
        for index, listener in enumerate(gateway.spec.listeners):
            where = f"{source} $.spec.listeners[{index}]"
            if listener.name in names:
                raise ConfigError(f"{where}.name", f"the listener `{listener.name}` is written twice")
            names.add(listener.name)
            place = (gateway.bind_address, listener.port)
            if listener.port and place in taken:
                raise ConfigError(
                    f"{where}.port",
                    f"port {listener.port} of {gateway.bind_address} is already taken by {taken[place]}",
                    "one listener per port; tell hosts apart by the routes' hostnames",
                )
            taken[place] = f"Gateway {gateway.key} listener {listener.name}"


def _check_parent(route: HTTPRoute, parent: ParentRef, gateways: Sequence[Gateway], where: str) -> None:
    key = f"{parent.namespace or route.namespace}/{parent.name}"
    gateway = next((g for g in gateways if g.key == key), None)
    if gateway is None:
        known = [g.key for g in gateways]
        raise ConfigError(f"{where}.name", f"there is no Gateway {key}", nearest(key, known) if known else "")
    listeners = gateway.spec.listeners
    if parent.section_name is not None and parent.section_name not in {item.name for item in listeners}:
        raise ConfigError(
            f"{where}.sectionName",
            f"Gateway {key} has no listener `{parent.section_name}`",
            nearest(parent.section_name, [item.name for item in listeners]),
        )
    named = [item for item in listeners if _names(parent, route, gateway, item)]
    if not named:
        raise ConfigError(f"{where}.port", f"Gateway {key} has no such listener on port {parent.port}")
    if not any(attached(gateway, listener, route) for listener in named):
        raise ConfigError(
            where,
            f"no listener of Gateway {key} takes this route: its host names and namespace do not fit",
            "see the listeners' hostname and allowedRoutes.namespaces.from",
        )


def _names(parent: ParentRef, route: HTTPRoute, gateway: Gateway, listener: Listener) -> bool:
    """Return whether *parent*, written in *route*, means *listener* of *gateway*."""
    return (
        f"{parent.namespace or route.namespace}/{parent.name}" == gateway.key
        and parent.section_name in (None, listener.name)
        and parent.port in (None, listener.port)
    )


def _intersection(one: str, other: str) -> str | None:
    """Return the more specific of two host names (`*.example.com` and `*` are patterns), None if they never meet."""
    for wide, narrow in ((one, other), (other, one)):
        if wide in ("*", narrow) or (wide.startswith("*.") and narrow.endswith(wide[1:])):
            return narrow
    return None
