"""Manifests become resources: the same for the same files, and an edit touches as little as it can."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from google.protobuf import json_format

from igw.config.gateway_api import ObjectMeta
from igw.config.models import InferenceModelRewrite, PoolRef, RewriteSpec
from igw.gateway.settings import GatewaySettings
from igw.gateway.translate import translate
from igw.gateway.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, resource

ONE = ["127.0.0.1:8000"]
TWO = ["127.0.0.1:8000", "127.0.0.1:8001"]


def _changed(before: Any, after: Any) -> set[str]:
    old, new = (translate(manifests, GatewaySettings()) for manifests in (before, after))
    return {type_url for type_url in TYPES if old.of(type_url) != new.of(type_url)}


def test_what_is_edited_is_what_changes(manifests: Any, to_pool: Any) -> None:
    """Endpoints leave clusters alone, routes leave listeners alone: neither drains anything."""
    rules = [{"backendRefs": [to_pool("chat", weight=9), to_pool("next", weight=1)]}]
    base = manifests({"chat": ONE, "next": ONE}, rules)
    assert _changed(base, manifests({"chat": ONE, "next": ONE}, rules)) == set()
    assert _changed(base, manifests({"chat": TWO, "next": ONE}, rules)) == {ENDPOINTS}
    rules[0]["backendRefs"][0]["weight"] = 1
    assert _changed(base, manifests({"chat": ONE, "next": ONE}, rules)) == {ROUTES}
    assert _changed(base, manifests({"chat": ONE, "next": ONE, "new": ONE}, rules)) >= {CLUSTER, ENDPOINTS}


def test_a_failure_mode_is_an_edit_of_routes(manifests: Any) -> None:
    """It is a setting of the request's way to the picker."""
    assert _changed(manifests({"chat": ONE}), manifests({"chat": ONE}, fail="FailClose")) == {ROUTES}


def test_only_routes_to_a_pool_with_rewrites_show_answers_to_the_picker(manifests: Any, to_pool: Any) -> None:
    """Adding one is an edit of routes; the other pool's answers stay in Envoy, and both are reported by access log."""
    rules = [{"backendRefs": [to_pool("chat"), to_pool("next")]}]
    base = manifests({"chat": ONE, "next": ONE}, rules)
    rewrite = InferenceModelRewrite(
        api_version="", kind="InferenceModelRewrite", metadata=ObjectMeta(name="r"),
        spec=RewriteSpec(pool_ref=PoolRef(name="chat"), rules=()),
    )  # fmt: skip
    rewritten = msgspec.structs.replace(base, rewrites=(rewrite,))
    assert _changed(base, rewritten) == {ROUTES}
    (routes,) = translate(rewritten, GatewaySettings()).of(ROUTES).values()
    modes: dict[str, set[str]] = {}
    for route in json_format.MessageToDict(routes)["virtualHosts"][0]["routes"]:
        for cluster in route["route"]["weightedClusters"]["clusters"]:
            overrides = cluster["typedPerFilterConfig"]["igw.picker"]["overrides"]
            mode = overrides["processingMode"].get("responseBodyMode", "NONE")
            modes.setdefault(cluster["name"], set()).add(mode)
            assert {"key": "x-igw-mode", "value": "lean"} in overrides["grpcInitialMetadata"]
    assert modes == {"pool/default/chat": {"FULL_DUPLEX_STREAMED"}, "pool/default/next": {"NONE"}}


def test_every_pool_has_a_cluster_and_its_endpoints(manifests: Any) -> None:
    """Also one without endpoints, so that its route answers 503 and not 500."""
    snapshot = translate(manifests({"chat": TWO, "empty": []}), GatewaySettings())
    assert set(snapshot.of(CLUSTER)) == {
        "picker/127.0.0.1:9002",
        "picker-log/127.0.0.1:9002",
        "pool/default/chat",
        "pool/default/empty",
    }
    assert set(snapshot.of(ENDPOINTS)) == {"pool/default/chat", "pool/default/empty"}
    assert set(snapshot.of(LISTENER)) == set(snapshot.of(ROUTES)) == {"default/web/http"}


def test_a_pool_may_have_a_picker_of_its_own(manifests: Any) -> None:
    """Each address is one cluster."""
    settings = GatewaySettings(pickers={"default/other": "[fd00::1]:9002"})
    snapshot = translate(manifests({"chat": ONE, "other": ONE}), settings)
    assert {name for name in snapshot.of(CLUSTER) if name.startswith("picker/")} == {
        "picker/127.0.0.1:9002",
        "picker/[fd00::1]:9002",
    }


def test_a_field_that_envoy_does_not_have_fails() -> None:
    """A typo in this room is found by any test, not by Envoy."""
    with pytest.raises(json_format.ParseError, match="conect_timeout"):
        resource(CLUSTER, {"name": "x", "conect_timeout": "1s"})
