"""Listeners whose routes are chosen by what a request's body says: the body-based router is asked before the route is.

What it makes of a body is not known here; it sets the headers that the routes of such a listener match on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from igw.config.gateway_api import MODEL_HEADERS, Gateway, Listener
from igw.config.manifests import Manifests
from igw.config.references import attached
from igw.gateway.filters import HEADERS, PICKER, picker_cluster
from igw.gateway.settings import GatewaySettings
from igw.gateway.xds import typed

BODY_ROUTER = "igw.body-router"
STRIP = "igw.strip"

ROLE = {"key": "x-igw-role", "value": "bbr"}
"""gRPC initial metadata: what the picker's process is asked for."""
POOLS_KEY = "x-igw-pools"
"""gRPC initial metadata: `namespace/name` of the pools behind the listener, with commas."""

NO_CLUSTER = "igw/none"
"""There is none of this name; local_replies has the words."""

_TIMEOUT = "10s"
"""How long a buffered body or a list of models may take; nothing waits in a queue here."""

_SEES_NOTHING = {"request_header_mode": "SKIP", "response_header_mode": "SKIP"}


class BodyRouting(msgspec.Struct, frozen=True):
    """How one listener's requests pass the body-based router."""

    mode: str
    """`Auto`, `Buffered` or `Streamed`, as the Gateway's annotation says."""
    pools: tuple[str, ...]
    """Those that routes of the listener lead to."""


def body_routing(gateway: Gateway, listener: Listener, manifests: Manifests) -> BodyRouting | None:
    """Return how requests of *listener* pass the body-based router; None where no route needs it."""
    routes = [route for route in manifests.routes if attached(gateway, listener, route)]
    needed = any(
        header.name.lower() in MODEL_HEADERS
        for route in routes
        for rule in route.spec.rules
        for match in rule.matches
        for header in match.headers
    )
    mode = gateway.route_by_body
    if mode == "Off" or (mode == "Auto" and not needed):
        return None
    pools = {
        f"{backend.namespace or route.namespace}/{backend.name}": None
        for route in routes
        for rule in route.spec.rules
        for backend in rule.backend_refs
    }
    return BodyRouting(mode, tuple(pools))


def with_body_router(
    filters: Sequence[dict[str, Any]], routing: BodyRouting, settings: GatewaySettings
) -> list[dict[str, Any]]:
    """Return *filters* of a listener with the body-based router after what clients may not say.

    The route changes behind it. So what a route changes of the headers comes after it, and no filter may be left out by the route
    that was there before: the picker sees nothing of a request until its last route says what.
    """
    strip, *others = filters
    mutations = strip["typed_config"]["mutations"]["request_mutations"]
    stripped = [*mutations, *({"remove": name} for name in MODEL_HEADERS)]
    changes = "filters.http.header_mutation.v3.HeaderMutation"
    written = [
        {"name": STRIP, "typed_config": typed(changes, mutations={"request_mutations": stripped})},
        {"name": BODY_ROUTER, "typed_config": _asked(routing, settings)},
        {"name": HEADERS, "typed_config": typed(changes, mutations={})},
    ]
    for each in others:
        kept = {key: value for key, value in each.items() if key != "disabled"}
        if each["name"] == PICKER:
            kept["typed_config"] = {**each["typed_config"], "processing_mode": _SEES_NOTHING}
        written.append(kept)
    return written


def _asked(routing: BodyRouting, settings: GatewaySettings) -> dict[str, Any]:
    metadata = [ROLE, {"key": POOLS_KEY, "value": ",".join(routing.pools)}]
    cluster = picker_cluster(settings.body_router or settings.picker)
    return typed(
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": cluster}, "initial_metadata": metadata},
        message_timeout=_TIMEOUT,
        # without it nobody knows which pool is meant
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        processing_mode=_mode(streamed=routing.mode == "Streamed"),
    )


def _mode(*, streamed: bool) -> dict[str, str]:
    """The request is shown; the answer, however large, is not."""
    return {
        "request_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED" if streamed else "BUFFERED",
        "request_trailer_mode": "SEND" if streamed else "SKIP",
        "response_header_mode": "SKIP",
        "response_body_mode": "NONE",
        "response_trailer_mode": "SKIP",
    }


def completed(
    routes: Iterable[dict[str, Any]], routing: BodyRouting, large: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a virtual host's *routes* with those for requests that fit none; *large* matches bodies that are to be streamed.

    The last one also stands for requests whose body has not been looked at yet.
    """
    written = list(routes)
    present = {"name": MODEL_HEADERS[0], "present_match": True}
    for name, headers in (("igw/no-such-model", [present]), ("igw/no-such-route", [])):
        written.append(
            {
                "name": name,
                "match": {"prefix": "/", **({"headers": headers} if headers else {})},
                # Not a direct response: Envoy knows how large a body may be only where there is a way on.
                "route": {"cluster": NO_CLUSTER, "cluster_not_found_response_code": "NOT_FOUND"},
            }
        )
    if routing.mode != "Auto":
        return written
    streamed = {
        BODY_ROUTER: typed(
            "filters.http.ext_proc.v3.ExtProcPerRoute", overrides={"processing_mode": _mode(streamed=True)}
        )
    }
    last = written[-1]
    written.insert(-1, {**last, "match": {**last["match"], "headers": [large]}})
    return [
        {**route, "typed_per_filter_config": {**route.get("typed_per_filter_config", {}), **streamed}}
        if large in route["match"].get("headers", ())
        else route
        for route in written
    ]
