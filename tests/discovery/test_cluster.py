"""A cluster's objects, change by change, give what files with the same objects give."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, PoolSpec, PortNumber, Selector
from igw.discovery import snapshot
from igw.discovery.cluster import ClusterView, Scope
from igw.discovery.source import Found
from igw.kubernetes.kinds import OBJECTIVES, OLD_GROUP, POOL_GROUP, POOLS, REWRITES, Kind
from igw.kubernetes.objects import Pod, Stored, stored

POOL = POOLS[POOL_GROUP]


def made(kind: Kind, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Stored | None]:
    """Return an object of the namespace `llm` as a change."""
    body = {"metadata": {"name": name, "namespace": "llm", "generation": 1, **meta}, "spec": spec}
    read = stored(kind)(msgspec.Raw(msgspec.json.encode(body)))
    return {read.key: read.value}


def pool(name: str = "llama", app: str = "llama", **spec: Any) -> dict[str, Stored | None]:
    """Return a pool as a change."""
    return made(
        POOL, name, {"selector": {"matchLabels": {"app": app}}, "targetPorts": [{"number": 8000}], **spec}
    )


def pod(name: str = "gpu-0", ip: str = "10.0.0.1", **changes: Any) -> dict[str, Pod | None]:
    """Return a ready Pod as a change."""
    labels = changes.pop("labels", {"app": "llama"})
    return {
        f"llm/{name}": Pod(name, "llm", ip, changes.pop("ready", True), labels, changes.pop("ports", None))
    }


def objective(
    name: str, to: str = "llama", kind: Kind = OBJECTIVES[0], **ref: Any
) -> dict[str, Stored | None]:
    """Return an objective as a change."""
    return made(kind, name, {"poolRef": {"name": to, **ref}, "priority": 5})


def view(pool_name: str = "", **scope: Any) -> ClusterView:
    """Return a view of the namespace `llm`."""
    return ClusterView(Scope("llm", pool_name, **scope))


def endpoints(found: Found, key: str = "llm/llama") -> list[str]:
    """Return the addresses of a pool."""
    return [endpoint.hostport for endpoint in found.pools[key].endpoints]


def test_ready_pods_that_are_selected_serve() -> None:
    """In the order in which they came; a Pod that is unready, Terminating or has no address does not."""
    seen = view()
    seen.objects(POOL, pool())
    seen.pods(pod("b", "10.0.0.2") | pod("a", "10.0.0.1") | pod("c", "10.0.0.3", ready=False) | pod("d", ""))
    seen.pods(pod("other", "10.0.0.9", labels={"app": "mistral"}))
    assert endpoints(seen.found()) == ["10.0.0.2:8000", "10.0.0.1:8000"]
    seen.pods(pod("c", "10.0.0.3") | pod("b", "10.0.0.2", ready=False))
    assert endpoints(seen.found()) == ["10.0.0.1:8000", "10.0.0.3:8000"]
    seen.pods({"llm/a": None, "llm/unknown": None} | pod("c", "10.0.0.3", labels={}))
    assert endpoints(seen.found()) == []


def test_what_did_not_change_is_the_same_object() -> None:
    """So that whoever is told sees at a glance what to do."""
    seen = view()
    seen.objects(POOL, pool() | pool("mistral", "mistral"))
    seen.pods(pod() | pod("m", "10.0.0.2", labels={"app": "mistral"}))
    first = seen.found()
    seen.pods(pod("new", "10.0.0.3"))
    second = seen.found()
    assert second.manifests is first.manifests
    assert second.pools["llm/mistral"] is first.pools["llm/mistral"]
    assert second.pools["llm/llama"] is not first.pools["llm/llama"]


def test_every_target_port_is_a_rank() -> None:
    """`active-ports` says which are live: what it names beyond them counts for nothing, and an empty one means none."""
    seen = view()
    seen.objects(POOL, pool(targetPorts=[{"number": 8000}, {"number": 8001}, {"number": 8002}]))
    seen.pods(pod("a") | pod("b", "fd00::2", ports=" 8002,8000,9999,x,8000") | pod("c", "10.0.0.3", ports=""))
    found = seen.found().pools["llm/llama"].endpoints
    assert [(each.name, each.hostport) for each in found] == [
        ("a-rank-0", "10.0.0.1:8000"),
        ("a-rank-1", "10.0.0.1:8001"),
        ("a-rank-2", "10.0.0.1:8002"),
        ("b-rank-0", "[fd00::2]:8000"),
        ("b-rank-2", "[fd00::2]:8002"),
    ]


def test_the_younger_of_two_pods_with_one_address_has_it() -> None:
    """The other is gone and nobody has said so yet."""
    seen = view()
    seen.objects(POOL, pool())
    seen.pods(pod("old") | pod("new"))
    (only,) = seen.found().pools["llm/llama"].endpoints
    assert only.name == "new"


def test_a_pool_can_change_and_come_back() -> None:
    """Its Pods, objectives and rewrites are there at once, since they never depended on it."""
    seen = view()
    seen.objects(OBJECTIVES[0], objective("urgent"))
    seen.pods(pod() | pod("m", "10.0.0.2", labels={"app": "mistral"}))
    seen.objects(POOL, pool())
    assert endpoints(seen.found()) == ["10.0.0.1:8000"]
    seen.objects(POOL, pool(app="mistral"))
    assert endpoints(seen.found()) == ["10.0.0.2:8000"]
    seen.objects(POOL, {"llm/llama": None})
    gone = seen.found()
    assert (gone.pools, len(gone.manifests.objectives)) == ({}, 1)
    seen.objects(POOL, pool(targetPorts=[{"number": 9000}]))
    assert endpoints(seen.found()) == ["10.0.0.1:9000"]


def test_a_status_changes_nothing() -> None:
    """It is written all the time, by us and by gateways."""
    seen = view()
    seen.objects(POOL, pool())
    before = seen.found().manifests
    (changed,) = pool().values()
    assert changed is not None
    seen.objects(POOL, {"llm/llama": msgspec.structs.replace(changed, version="9", status={"parents": []})})
    assert seen.found().manifests is before


def test_a_picker_for_one_pool_sees_no_other() -> None:
    """Nor what is about others, even if it cannot be used; what there is besides is known by name."""
    seen = view("llama")
    seen.objects(POOL, pool() | pool("mistral"))
    seen.objects(OBJECTIVES[0], objective("ours") | objective("theirs", "mistral"))
    seen.objects(OBJECTIVES[0], objective("bad", "mistral", nonsense=1) | objective("old", group=OLD_GROUP))
    found = seen.found()
    assert list(found.pools) == ["llm/llama"]
    assert [each.name for each in found.manifests.objectives] == ["ours"]
    assert found.refusals == ()
    assert list(seen.seen_pools) == ["llm/llama", "llm/mistral"]
    seen.objects(OBJECTIVES[0], objective("ours", "mistral"))
    assert seen.found().manifests.objectives == ()


def test_an_object_that_cannot_be_used_changes_nothing() -> None:
    """What it said before stays; one that never could be used is left out. Both are said, with their generation."""
    seen = view()
    rule = {"matches": [{"model": {"value": "a"}}], "targets": [{"modelRewrite": "b"}]}
    mixed = {**rule, "targets": [{"modelRewrite": "b", "weight": 1}, {"modelRewrite": "c"}]}
    seen.objects(REWRITES[0], made(REWRITES[0], "r", {"poolRef": {"name": "llama"}, "rules": [rule]}))
    seen.objects(
        REWRITES[0], made(REWRITES[0], "r", {"poolRef": {"name": "llama"}, "rules": [mixed]}, generation=2)
    )
    seen.objects(
        OBJECTIVES[0],
        objective("wrong", kind_="x")
        | made(OBJECTIVES[0], "kind", {"poolRef": {"name": "llama", "kind": "Service"}}),
    )
    found = seen.found()
    (rewrite,) = found.manifests.rewrites
    assert rewrite.spec.rules[0].targets is not None
    assert len(rewrite.spec.rules[0].targets) == 1
    said = {each.key: each for each in found.refusals}
    assert (said["llm/r"].where, said["llm/r"].generation, said["llm/r"].in_force) == (
        "$.spec.rules[0].targets[1].weight",
        2,
        "last",
    )
    assert (said["llm/kind"].where, said["llm/kind"].in_force) == ("$.spec.poolRef.kind", "nothing")
    seen.objects(REWRITES[0], {"llm/r": None})
    assert {each.key for each in seen.found().refusals} == {"llm/kind", "llm/wrong"}


def test_fields_of_a_newer_api_are_passed_over_and_said() -> None:
    """But not those that would change who is selected."""
    seen = view()
    selector = {"matchLabels": {"app": "llama"}}
    seen.objects(POOL, pool(future={"a": 1}, selector={**selector, "hint": 1}))
    seen.pods(pod())
    found = seen.found()
    assert endpoints(found) == ["10.0.0.1:8000"]
    (said,) = found.refusals
    assert (said.in_force, said.where) == ("rest", "$.spec.future")
    assert "$.spec.selector.hint" in said.problem
    seen.objects(POOL, pool("strict", selector={**selector, "matchExpressions": []}))
    assert [each.in_force for each in seen.found().refusals] == ["rest", "nothing"]


def test_of_two_objects_in_both_groups_the_newer_group_counts() -> None:
    """The other is said; alone it counts."""
    seen = view()
    seen.objects(OBJECTIVES[1], objective("urgent", kind=OBJECTIVES[1]))
    assert [each.api_version for each in seen.found().manifests.objectives] == [OBJECTIVES[1].api_version]
    seen.objects(OBJECTIVES[0], objective("urgent"))
    found = seen.found()
    assert [each.api_version for each in found.manifests.objectives] == [OBJECTIVES[0].api_version]
    assert [(each.key, each.where) for each in found.refusals] == [("llm/urgent", "$.apiVersion")]


def test_a_pod_with_a_wrong_port_is_left_out() -> None:
    """And said, as long as it is there."""
    seen = view()
    seen.objects(POOL, pool(appProtocol="kubernetes.io/h2c"))
    seen.pods(pod("a", labels={"app": "llama", snapshot.GRPC_PORT_LABEL: "x"}) | pod("b", "10.0.0.2"))
    found = seen.found()
    assert endpoints(found) == ["10.0.0.2:8000"]
    assert [(each.kind, each.key) for each in found.refusals] == [("Pod", "llm/a")]
    seen.pods({"llm/a": None})
    assert seen.found().refusals == ()


def test_pools_of_the_older_api_serve_too() -> None:
    """One port, flat selector, extensionRef."""
    seen = view(pool_group=OLD_GROUP)
    kind = POOLS[OLD_GROUP]
    spec = {
        "selector": {"app": "llama"},
        "targetPortNumber": 8000,
        "extensionRef": {"name": "epp", "failureMode": "FailOpen"},
    }
    seen.objects(kind, made(kind, "llama", spec))
    seen.pods(pod())
    found = seen.found()
    assert endpoints(found) == ["10.0.0.1:8000"]
    (read,) = found.manifests.pools
    assert read.fail_open
    assert read.spec.endpoint_picker_ref is not None
    assert read.spec.endpoint_picker_ref.port == PortNumber(number=9002)
    seen.objects(OBJECTIVES[0], objective("ours", group=OLD_GROUP) | objective("theirs"))
    assert [each.name for each in seen.found().manifests.objectives] == ["ours"]


def standing() -> InferencePool:
    """Return a pool that the cluster has no object of."""
    spec = PoolSpec(selector=Selector(match_labels={}), target_ports=(PortNumber(number=8000),))
    return InferencePool(
        api_version="v1", kind="InferencePool", metadata=ObjectMeta(name="own", namespace="llm"), spec=spec
    )


def test_a_standing_pool_takes_every_pod_it_is_told_of() -> None:
    """Objectives may name it."""
    seen = view("own", standing=standing())
    seen.pods(pod(labels={}))
    seen.objects(OBJECTIVES[0], objective("urgent", "own"))
    found = seen.found()
    assert endpoints(found, "llm/own") == ["10.0.0.1:8000"]
    assert snapshot.priorities(found.manifests) == {"llm/own": {"urgent": 5}}


PODS = st.builds(
    lambda number, app, ready, ports: pod(f"gpu-{number}", f"10.0.0.{number}", labels={"app": app}, ready=ready, ports=ports),
    st.integers(0, 5), st.sampled_from(["llama", "mistral"]), st.booleans(), st.sampled_from([None, "8000", "9"]),
)  # fmt: skip
GONE = st.builds(lambda number: {f"llm/gpu-{number}": None}, st.integers(0, 5))
CHANGED = st.builds(pool, st.sampled_from(["one", "two"]), st.sampled_from(["llama", "mistral"]))
REMOVED = st.builds(lambda name: {f"llm/{name}": None}, st.sampled_from(["one", "two"]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PODS, GONE, CHANGED, REMOVED), max_size=30), st.integers(1, 5))
def test_the_way_does_not_matter(changes: list[Any], often: int) -> None:
    """Change by change, looked at in between or not, comes out what all that is there gives at once."""
    seen, pods, pools = view(), {}, {}
    for number, change in enumerate(changes):
        ((key, value),) = change.items()
        if "gpu" in key:
            seen.pods(change)
            pods[key] = value
        else:
            seen.objects(POOL, change)
            pools[key] = value
        if number % often == 0:
            seen.found()
    fresh = view()
    fresh.objects(POOL, {key: value for key, value in pools.items() if value is not None})
    fresh.pods({key: value for key, value in pods.items() if value is not None})
    ours, theirs = seen.found(), fresh.found()
    assert ours.manifests == theirs.manifests
    assert {key: set(map(str, each.endpoints)) for key, each in ours.pools.items()} == {
        key: set(map(str, each.endpoints)) for key, each in theirs.pools.items()
    }
