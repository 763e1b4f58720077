"""What objects say of each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from igw.config import references
from igw.config.gateway_api import AllowedRoutes, RouteNamespaces
from igw.config.references import attached
from igw.errors import ConfigError


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: llama}]",
            "name: lama}]",
            r"backendRefs\[0\].name: there is no InferencePool default/lama \(did you mean default/llama",
        ),
        ("name: llama}]", "name: llama, namespace: a}]", r"there is no InferencePool a/llama"),
        (
            "parentRefs: [{name: web}]",
            "parentRefs: [{name: wbe}]",
            r"parentRefs\[0\].name: there is no Gateway default/wbe",
        ),
        (
            "parentRefs: [{name: web}]",
            "parentRefs: [{name: web, sectionName: htp}]",
            r"sectionName: Gateway default/web has no listener `htp` \(did you mean http",
        ),
        (
            "parentRefs: [{name: web}]",
            "parentRefs: [{name: web, port: 81}]",
            r"has no such listener on port 81",
        ),
        (
            "protocol: HTTP",
            "protocol: HTTP, allowedRoutes: {namespaces: {from: None}}",
            r"no listener .* takes this route",
        ),
        (
            "protocol: HTTP}",
            "protocol: HTTP}, {name: http, port: 81, protocol: HTTP}",
            r"listeners\[1\].name: .*written twice",
        ),
        (
            "protocol: HTTP}",
            "protocol: HTTP}, {name: other, port: 8080, protocol: HTTP}",
            r"listeners\[1\].port: port 8080 of 127.0.0.2 is already taken by Gateway default/web listener http",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error(written: Any, old: str, new: str, message: str) -> None:
    """Files have no status to put it in."""
    with pytest.raises(ConfigError, match=message):
        written(old, new)


def test_a_route_of_another_namespace_needs_the_listeners_leave(written: Any) -> None:
    """`allowedRoutes.namespaces.from: All`, as in the Gateway API."""
    [gateway], [chat] = (manifests := written()).gateways, manifests.routes
    listener = gateway.spec.listeners[0]
    foreign = replace(
        chat,
        metadata=replace(chat.metadata, namespace="other"),
        spec=replace(chat.spec, parent_refs=(replace(chat.spec.parent_refs[0], namespace="default"),)),
    )
    assert attached(gateway, listener, foreign) == ()
    everyone = replace(listener, allowed_routes=AllowedRoutes(namespaces=RouteNamespaces(from_="All")))
    assert attached(gateway, everyone, foreign) == ("*",)


@pytest.mark.parametrize(
    ("listener", "route", "expected"),
    [
        (None, [], ("*",)),
        (None, ["a.example.com"], ("a.example.com",)),
        ("*.example.com", [], ("*.example.com",)),
        (
            "*.example.com",
            ["a.example.com", "a.b.example.com", "example.com", "other.org"],
            ("a.example.com", "a.b.example.com"),
        ),
        ("a.example.com", ["*.example.com", "*.com"], ("a.example.com",)),
        ("*.a.example.com", ["*.example.com"], ("*.a.example.com",)),
        ("a.example.com", ["b.example.com"], ()),
    ],
)
def test_host_names_meet_at_the_more_specific(
    written: Any, listener: str | None, route: list[str], expected: tuple[str, ...]
) -> None:
    """The Gateway API's intersection of a listener's and a route's host names."""
    manifests = written()
    [gateway], [chat] = manifests.gateways, manifests.routes
    chat = replace(chat, spec=replace(chat.spec, hostnames=tuple(route)))
    assert attached(gateway, replace(gateway.spec.listeners[0], hostname=listener), chat) == expected


_HOST = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(".".join)
_PATTERN = st.one_of(st.just("*"), _HOST, _HOST.map("*.".__add__))


@given(_PATTERN, _PATTERN)
def test_the_order_of_two_host_names_does_not_matter(one: str, other: str) -> None:
    """An intersection is symmetric, and one of the two."""
    met = references._intersection(one, other)
    assert met == references._intersection(other, one)
    assert met in {one, other, None}


@given(_PATTERN, _PATTERN, _HOST)
def test_a_host_is_served_where_both_would_take_it(one: str, other: str, host: str) -> None:
    """The meaning of an intersection, host by host."""
    met = references._intersection(one, other)
    assert (met is not None and _takes(met, host)) == (_takes(one, host) and _takes(other, host))


def _takes(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
