"""What is kept of Pods, of our objects, of lists and of watch events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from igw.kubernetes.kinds import OBJECTIVES, PODS, POOLS
from igw.kubernetes.objects import Event, Failure, Pod, event, failure, page, pod, stored


def raw(value: Any) -> msgspec.Raw:
    """Return *value* as JSON."""
    return msgspec.Raw(json.dumps(value).encode())


def written(name: str = "gpu-0", **changes: Any) -> dict[str, Any]:
    """Return a Pod as the API server sends it, with more than anybody needs."""
    meta = {
        "name": name,
        "namespace": "llm",
        "resourceVersion": "5",
        "labels": {"app": "x"},
        "managedFields": [{}],
    }
    conditions = [
        {"type": "Initialized", "status": "True"},
        {"type": "Ready", "status": changes.pop("ready", "True")},
    ]
    status = {"podIP": changes.pop("ip", "10.0.0.1"), "conditions": conditions, "phase": "Running"}
    return {"metadata": {**meta, **changes}, "spec": {"containers": []}, "status": status}


def test_of_a_pod_only_what_matters_is_kept() -> None:
    """Under its namespace and name."""
    read = pod(raw(written()))
    assert (read.key, read.version) == ("llm/gpu-0", "5")
    assert read.value == Pod("gpu-0", "llm", "10.0.0.1", ready=True, labels={"app": "x"})


@pytest.mark.parametrize(
    "changes", [{"ready": "False"}, {"ready": "Unknown"}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}]
)
def test_a_pod_that_goes_or_is_not_ready_is_not_ready(changes: dict[str, Any]) -> None:
    """A Terminating Pod is, however ready it says to be."""
    assert not pod(raw(written(**changes))).value.ready


def test_a_pod_without_anything_is_not_ready() -> None:
    """As it is when it was just made."""
    bare = pod(raw({"metadata": {"name": "a", "namespace": "b"}})).value
    assert bare == Pod("a", "b", "", ready=False, labels={})
    assert (
        pod(raw({"metadata": {"name": "a", "namespace": "b"}, "status": {"conditions": None}})).value == bare
    )


def test_the_newer_annotation_for_ports_wins() -> None:
    """Even if it is empty, which means none."""
    old, new = "inference.networking.k8s.io/active-ports", "llm-d.ai/active-ports"
    for written_ports, expected in (
        ({old: "8000"}, "8000"),
        ({old: "8000", new: ""}, ""),
        ({"other": "1"}, None),
    ):
        assert pod(raw(written(annotations=written_ports))).value.active_ports == expected


def test_an_object_of_ours_is_equal_until_it_means_something_else() -> None:
    """A new status and what every write changes do not count."""
    body = {
        "metadata": {"name": "p", "namespace": "n", "resourceVersion": "1", "generation": 1},
        "spec": {"a": 1},
    }
    first = stored(POOLS["inference.networking.k8s.io"])(raw(body)).value
    body["metadata"]["resourceVersion"], body["status"] = "2", {"parents": []}  # type: ignore[index]
    second = stored(POOLS["inference.networking.k8s.io"])(raw(body)).value
    assert first.document == second.document
    assert (second.version, second.status) == ("2", {"parents": []})
    assert (first.document.kind, first.document.key) == ("InferencePool", "InferencePool n/p")


def test_a_page_of_a_list() -> None:
    """Its objects, its version, and where the rest begins."""
    body = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [written("a"), written("b")]}
    read = page(json.dumps(body).encode(), pod)
    assert (list(read.items), read.version, read.token) == (["llm/a", "llm/b"], "9", "more")
    assert page(b'{"metadata": {}, "items": null}', pod).items == {}


def test_the_lines_of_a_watch() -> None:
    """Changes, bookmarks, and errors that come within it."""

    def line(kind: str, value: Any) -> bytes:
        return json.dumps({"type": kind, "object": value}).encode()

    added, gone = event(line("ADDED", written()), pod), event(line("DELETED", written()), pod)
    assert isinstance(added, Event)
    assert added.value is not None
    assert gone == Event("DELETED", "llm/gpu-0", "5", None)
    mark = event(line("BOOKMARK", {"metadata": {"resourceVersion": "12"}}), pod)
    assert mark == Event("BOOKMARK", "", "12", None)
    status = {"kind": "Status", "code": 410, "message": "too old", "details": {"retryAfterSeconds": 3}}
    assert event(line("ERROR", status), pod) == Failure(410, "too old", 3)


def test_a_refusal_that_is_no_status_is_quoted() -> None:
    """As proxies in between write it; shortened."""
    assert failure(b"<html>" + b"x" * 900, 502) == Failure(502, "<html>" + "x" * 194)
    assert failure(b"", 503) == Failure(503, "HTTP 503")


def test_kinds_are_where_the_api_server_has_them() -> None:
    """Pods without a group, ours with one."""
    assert PODS.path("n") == "/api/v1/namespaces/n/pods"
    assert OBJECTIVES[0].path("n") == "/apis/llm-d.ai/v1alpha2/namespaces/n/inferenceobjectives"
    assert (PODS.resource, OBJECTIVES[0].resource) == ("pods", "inferenceobjectives.llm-d.ai")
