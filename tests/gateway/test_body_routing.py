"""Which listeners ask the body-based router, and what that changes; that it works is shown in `tests/e2e/test_bbr.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from igw.config.manifests import Manifests, load
from igw.errors import ConfigError
from igw.gateway.filters import http_filters
from igw.gateway.settings import GatewaySettings
from igw.gateway.translate import translate
from igw.gateway.xds import CLUSTER, LISTENER, ROUTES
from tests.gateway.conftest import backend, objects

POOLS = {"one": ["10.0.0.1:8000"], "two": ["10.0.0.2:8000"]}


def rule(pool: str, *headers: str) -> dict[str, Any]:
    """Return a rule that asks for headers."""
    match = {"headers": [{"name": name, "value": pool} for name in headers]}
    return {"matches": [match], "backendRefs": [backend(pool)]}


PLAIN = [rule("one", "x-tier"), {"backendRefs": [backend("two")]}]
BY_MODEL = [rule("one", "X-Gateway-Model-Name"), {"backendRefs": [backend("two")]}]
BY_BASE = [rule("one", "x-gateway-base-model-name"), rule("two", "x-gateway-base-model-name")]


def site(folder: Path, rules: list[dict[str, Any]], mode: str = "", listeners: int = 1) -> Manifests:
    """Return a Gateway (with *mode* as its annotation) of which the first listener has these rules."""
    gateway, route, *pools = objects(POOLS, rules)
    gateway["metadata"]["annotations"] = {"igw.dev/route-by-body": mode} if mode else {}
    route["spec"]["parentRefs"][0]["sectionName"] = "http"
    gateway["spec"]["listeners"] += [
        {"name": f"l{number}", "port": 8080 + number, "protocol": "HTTP"} for number in range(1, listeners)
    ]
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump_all([gateway, route, *pools]))
    return load([path])


def written(manifests: Manifests, kind: str, **settings: Any) -> dict[str, Any]:
    """Return the resources of one kind."""
    snapshot = translate(manifests, GatewaySettings(**settings))
    return {name: json_format.MessageToDict(message) for name, message in snapshot.of(kind).items()}


def filters(manifests: Manifests, listener: str = "http", **settings: Any) -> dict[str, dict[str, Any]]:
    """Return the HTTP filters of a listener by name, in order."""
    found = written(manifests, LISTENER, **settings)[f"default/web/{listener}"]
    manager = found["filterChains"][0]["filters"][0]["typedConfig"]
    return {each["name"]: each for each in manager["httpFilters"]}


@pytest.mark.parametrize(
    ("rules", "mode", "asked"),
    [
        (PLAIN, "", False),
        (BY_MODEL, "", True),
        (BY_BASE, "", True),
        (BY_BASE, "Auto", True),
        (BY_BASE, "Off", False),
        (PLAIN, "Buffered", True),
        (PLAIN, "Streamed", True),
    ],
)
def test_the_router_is_asked_where_a_route_needs_it_or_the_gateway_says_so(
    tmp_path: Path, rules: list[dict[str, Any]], mode: str, asked: bool
) -> None:
    """Every other listener is as it was, to the letter."""
    manifests = site(tmp_path, rules, mode)
    names = list(filters(manifests))
    assert ("igw.body-router" in names) is asked
    plain = [each["name"] for each in http_filters(GatewaySettings())]
    assert asked or names == plain
    assert asked or written(manifests, LISTENER) == written(site(tmp_path, PLAIN), LISTENER)


def test_other_listeners_of_the_gateway_are_not_touched(tmp_path: Path) -> None:
    """Only the one whose routes look at the model."""
    manifests = site(tmp_path, BY_BASE, listeners=2)
    assert "igw.body-router" in filters(manifests)
    assert "igw.body-router" not in filters(manifests, "l1")


def test_the_picker_of_such_a_listener_waits_for_the_last_route(tmp_path: Path) -> None:
    """It is there whatever route a request had at first, and sees nothing until a route says what; rules change headers after that."""
    found = filters(site(tmp_path, BY_BASE))
    names = list(found)
    assert names[:4] == ["igw.strip", "igw.body-router", "igw.headers", "igw.picker"]
    assert not any(each.get("disabled") for each in found.values())
    seen = found["igw.picker"]["typedConfig"]["processingMode"]
    assert seen == {"requestHeaderMode": "SKIP", "responseHeaderMode": "SKIP"}
    stripped = found["igw.strip"]["typedConfig"]["mutations"]["requestMutations"]
    assert {"remove": "x-gateway-model-name"} in stripped
    assert {"remove": "x-gateway-destination-endpoint"} in stripped


def test_the_router_is_told_its_role_and_the_pools_behind_the_listener(tmp_path: Path) -> None:
    """It is the picker unless another one is named."""
    manifests = site(tmp_path, BY_BASE)
    for settings, cluster in (({}, "picker/127.0.0.1:9002"), ({"body_router": "h:1"}, "picker/h:1")):
        grpc = filters(manifests, **settings)["igw.body-router"]["typedConfig"]["grpcService"]
        assert grpc["envoyGrpc"]["clusterName"] == cluster
        assert grpc["initialMetadata"] == [
            {"key": "x-igw-role", "value": "bbr"},
            {"key": "x-igw-pools", "value": "default/one,default/two"},
        ]
        assert cluster in written(manifests, CLUSTER, **settings)


@pytest.mark.parametrize(
    ("mode", "default", "large"),
    [
        ("Auto", "BUFFERED", "FULL_DUPLEX_STREAMED"),
        ("Buffered", "BUFFERED", None),
        ("Streamed", "FULL_DUPLEX_STREAMED", None),
    ],
)
def test_bodies_travel_as_the_gateway_says(
    tmp_path: Path, mode: str, default: str, large: str | None
) -> None:
    """Auto streams those that declare a mebibyte or more; answers are never shown."""
    manifests = site(tmp_path, BY_BASE, mode)
    asked = filters(manifests)["igw.body-router"]["typedConfig"]["processingMode"]
    assert asked["requestBodyMode"] == default
    assert asked["responseHeaderMode"] == "SKIP"
    assert asked.get("responseBodyMode", "NONE") == "NONE"
    (found,) = written(manifests, ROUTES).values()
    for route in found["virtualHosts"][0]["routes"]:
        length = any(each["name"] == "content-length" for each in route["match"].get("headers", ()))
        own = route.get("typedPerFilterConfig", {}).get("igw.body-router")
        told = own and own["overrides"]["processingMode"]["requestBodyMode"]
        assert told == (large if length else None)


def test_an_unknown_value_of_the_annotation_is_named(tmp_path: Path) -> None:
    """With the nearest known one."""
    with pytest.raises(ConfigError, match="did you mean Buffered"):
        site(tmp_path, PLAIN, "buffer")
