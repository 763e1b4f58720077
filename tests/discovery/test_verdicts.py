"""What is said of an object is true, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, PoolSpec, PortNumber, Selector
from igw.discovery.cluster import ClusterView, Scope
from igw.discovery.verdicts import claims
from igw.endpoint import SEATS_LABEL
from igw.kubernetes.conditions import Claim, Parent
from igw.kubernetes.kinds import OBJECTIVES, OLD_GROUP, POOL_GROUP, POOLS, REWRITES, Kind
from igw.kubernetes.objects import Pod, Service, Stored, stored

POOL, OBJECTIVE, REWRITE = POOLS[POOL_GROUP], OBJECTIVES[0], REWRITES[0]
SPEC: dict[str, Any] = {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}]}
REF: dict[str, Any] = {"name": "epp", "port": {"number": 9002}}
SERVICES = {"llm/epp": Service("ClusterIP", (9002,)), "llm/outside": Service("ExternalName", (9002,))}


class Cluster:
    """Objects of the namespace `llm`, and what a picker says of them."""

    def __init__(self, pool_name: str = "", **scope: Any) -> None:
        self.view = ClusterView(Scope("llm", pool_name, **scope))
        self.stored: dict[Kind, dict[str, Stored]] = {}
        self.services: Mapping[str, Service] | None = SERVICES

    def put(self, kind: Kind, name: str, spec: Any = None, **meta: Any) -> None:
        """Create or change an object; no *spec*: it has none."""
        body = {"metadata": {"name": name, "namespace": "llm", "uid": f"uid-{name}", "generation": 1, **meta}}
        read = stored(kind)(
            msgspec.Raw(msgspec.json.encode(body if spec is None else {**body, "spec": spec}))
        )
        self.stored.setdefault(kind, {})[read.key] = read.value
        self.view.objects(kind, {read.key: read.value})

    def pod(self, name: str, *, ready: bool = True, ports: str | None = None, **labels: str) -> None:
        """Create or change a Pod."""
        ip = f"10.0.0.{len(self.view._pods) + 1}"
        self.view.pods({f"llm/{name}": Pod(name, "llm", ip, ready, {"app": "llama", **labels}, ports)})

    def claims(self) -> dict[str, Claim]:
        """Return what is said, by `kind namespace/name`."""
        self.view.found()
        return {
            f"{each.kind.name} {each.key}": each for each in claims(self.view, self.stored, self.services)
        }

    def said(self, what: str) -> dict[str, str]:
        """Return `status reason: message` by the type of the condition."""
        found = self.claims()[what].conditions
        return {each.type: f"{each.status} {each.reason}: {each.message}" for each in found}


def cluster(**spec: Any) -> Cluster:
    """Return one with the pool `llama`."""
    made = Cluster()
    made.put(POOL, "llama", {**SPEC, "endpointPickerRef": REF, **spec})
    return made


def test_a_pool_that_serves_is_ready() -> None:
    """With how many endpoints at how many Pods; of other Pods nothing is said."""
    made = cluster(targetPorts=[{"number": 8000}, {"number": 8001}])
    made.pod("a")
    made.pod("b", ports="8001")
    made.pod("c", ready=False)
    made.pod("d", app="other")
    said = made.said("InferencePool llm/llama")
    assert said == {
        "Accepted": "True Accepted: an endpoint picker of igw follows it",
        "ResolvedRefs": "True ResolvedRefs: its endpoint picker is the Service llm/epp, port 9002",
        "Ready": "True Ready: 3 endpoints at 2 of 3 Pods with the labels app=llama",
    }
    claim = made.claims()["InferencePool llm/llama"]
    assert (claim.uid, claim.generation) == ("uid-llama", 1)
    assert claim.parent == Parent("", "Service", "epp", "llm")


def test_a_pool_that_nobody_serves_says_why() -> None:
    """Nobody is selected, nobody is ready, nobody has a port, one cannot be used."""
    made = cluster()
    assert (
        made.said("InferencePool llm/llama")["Ready"]
        == "False NoPods: no Pod of llm has the labels app=llama"
    )
    made.pod("a", ready=False)
    assert made.said("InferencePool llm/llama")["Ready"].startswith("False NoReadyPods: none of 1 Pod with")
    made.pod("a", ports="")
    assert made.said("InferencePool llm/llama")["Ready"].startswith(
        "False NoEndpoints: 0 endpoints at 1 of 1 Pod "
    )
    assert "llm-d.ai/active-ports leaves none" in made.said("InferencePool llm/llama")["Ready"]
    made.pod("a", **{SEATS_LABEL: "many"})
    assert "no number of requests" in made.said("InferencePool llm/llama")["Ready"]


@pytest.mark.parametrize(
    ("ref", "services", "said"),
    [
        ({"name": "eep"}, SERVICES, "False InvalidExtensionRef: $.spec.endpointPickerRef.name: there is no Service llm/eep (did you mean llm/epp?)"),
        ({"name": "eep"}, {}, "there is no Service llm/eep (`kubectl get services -n llm` lists those there are)"),
        ({"name": "outside"}, SERVICES, "the Service llm/outside is of type ExternalName"),
        ({"port": {"number": 5}}, SERVICES, "$.spec.endpointPickerRef.port: the Service llm/epp has no port 5 (it has 9002)"),
        ({"kind": "Deployment", "group": "apps"}, SERVICES, "`Deployment.apps` cannot be an endpoint picker (write Service)"),
        ({}, None, "Unknown NotAllowed: the picker may not see Services"),
    ],
)  # fmt: skip
def test_a_picker_that_is_not_there_is_named(
    ref: dict[str, Any], services: Mapping[str, Service] | None, said: str
) -> None:
    """With the cure, and what gateways do meanwhile. Not being allowed to look is not the pool's fault."""
    made = cluster(endpointPickerRef={**REF, "failureMode": "FailClose", **ref})
    made.services = services
    made.pod("a")
    found = made.said("InferencePool llm/llama")
    assert said in found["ResolvedRefs"]
    if services is None:
        assert found["Ready"].startswith("True")
    else:
        assert found["Ready"] == found["ResolvedRefs"]
        assert found["Ready"].endswith("; gateways refuse requests meanwhile (FailClose)")


def test_many_services_are_not_listed() -> None:
    """A message is for people."""
    made = cluster(endpointPickerRef={**REF, "name": "zzz"})
    made.services = {f"llm/{letter * 8}": Service("ClusterIP", (1,)) for letter in "abcdefghijk"}
    assert "`kubectl get services -n llm` lists those" in made.said("InferencePool llm/llama")["ResolvedRefs"]


def test_a_pool_without_a_picker_is_judged_all_the_same() -> None:
    """Its entry has a parent of ours."""
    made = Cluster()
    made.put(POOL, "llama", SPEC)
    made.pod("a")
    assert made.said("InferencePool llm/llama")["Ready"].startswith("True Ready")
    parent = made.claims()["InferencePool llm/llama"].parent
    assert parent == Parent("igw.dev", "EndpointPicker", "llama", "llm")


def test_a_pool_that_cannot_be_used_says_so_and_what_is_in_force() -> None:
    """A field that would change which Pods are selected; what it said before goes on."""
    made = cluster()
    made.pod("a")
    bad = {**SPEC, "selector": {"matchLabels": {"app": "x"}, "matchExpressions": []}}
    made.put(POOL, "llama", {**bad, "endpointPickerRef": REF}, generation=2)
    said = made.said("InferencePool llm/llama")
    assert said["Accepted"].startswith("False Refused: $.spec.selector")
    assert said["Accepted"].endswith("; what it said before stays in force")
    assert said["Ready"] == said["Accepted"]
    assert said["ResolvedRefs"].startswith("True")
    other = Cluster()
    other.put(POOL, "llama", bad)
    assert "before" not in other.said("InferencePool llm/llama")["Accepted"]
    assert other.said("InferencePool llm/llama")["ResolvedRefs"].startswith("Unknown Refused")


@pytest.mark.parametrize("kind", [OBJECTIVE, REWRITE, OBJECTIVES[1], REWRITES[1]])
def test_an_object_without_a_spec_says_so(kind: Kind) -> None:
    """The CRDs let it pass."""
    made = cluster()
    made.put(kind, "bare")
    said = made.said(f"{kind.name} llm/bare")
    assert said["Ready"] == "False Refused: $: the required field `spec` is missing"
    assert said["ResolvedRefs"].startswith("Unknown Refused")


def test_objectives_and_rewrites_say_what_they_do() -> None:
    """A rule that takes everything is named; so is what is passed over."""
    made = cluster()
    about = {"poolRef": {"name": "llama"}}
    made.put(OBJECTIVE, "urgent", {**about, "priority": -3})
    made.put(OBJECTIVE, "newer", {**about, "someday": 1})
    match = {"matches": [{"model": {"value": "m"}}], "targets": [{"modelRewrite": "a"}]}
    made.put(REWRITE, "all", {**about, "rules": [match, {"targets": [{"modelRewrite": "b"}]}]})
    assert made.said("InferenceObjective llm/urgent") == {
        "Accepted": "True Accepted: requests that name it have priority -3",
        "ResolvedRefs": "True ResolvedRefs: it is about the pool llm/llama",
        "Ready": "True Ready: in force for llm/llama",
    }
    newer = made.said("InferenceObjective llm/newer")
    assert "someday: not known here and passed over" in newer["Accepted"]
    assert newer["Ready"].startswith("True")
    accepted = made.said("InferenceModelRewrite llm/all")["Accepted"]
    assert (
        accepted
        == "True Accepted: 2 rules; $.spec.rules[1] takes every request that no rule takes by its model"
    )


def test_a_pool_that_is_not_there_is_named() -> None:
    """With the one that was meant."""
    made = cluster()
    made.put(OBJECTIVE, "lost", {"poolRef": {"name": "lama"}})
    said = made.said("InferenceObjective llm/lost")
    assert said["Accepted"].startswith("True")
    assert said["Ready"] == said["ResolvedRefs"]
    assert said["Ready"].startswith(
        "False PoolNotFound: $.spec.poolRef.name: there is no InferencePool llm/lama"
    )
    assert said["Ready"].endswith("(did you mean llm/llama?)")


def test_a_picker_for_one_pool_leaves_others_objects_to_others() -> None:
    """Except for what would be nobody's: it is about no pool that is there."""
    made = Cluster("llama")
    made.put(POOL, "llama", SPEC)
    made.put(POOL, "mistral", SPEC)
    for name in ("llama", "mistral", "lama"):
        made.put(OBJECTIVE, f"to-{name}", {"poolRef": {"name": name}})
    made.put(OBJECTIVE, "elsewhere", {"poolRef": {"name": "lama", "group": "example.net"}})
    made.put(OBJECTIVE, "newer", {"poolRef": {"name": "llama", "group": "llm-d.ai"}})
    assert sorted(made.claims()) == [
        "InferenceObjective llm/newer",
        "InferenceObjective llm/to-lama",
        "InferenceObjective llm/to-llama",
        "InferencePool llm/llama",
    ]
    assert made.said("InferenceObjective llm/to-lama")["Ready"].startswith("False PoolNotFound")
    assert made.said("InferenceObjective llm/newer")["Ready"].startswith("True")


def test_of_two_with_one_name_the_older_group_gives_way() -> None:
    """And says so; each is an object of its own."""
    made = cluster()
    for kind in OBJECTIVES:
        made.put(kind, "urgent", {"poolRef": {"name": "llama"}})
    made.view.found()
    said = {
        each.kind.group: each.ready
        for each in claims(made.view, made.stored, SERVICES)
        if each.kind is not POOL
    }
    assert said["llm-d.ai"].status == "True"
    assert said[OLD_GROUP].message.startswith("$.apiVersion: there is one of this name in llm-d.ai too")


def test_a_pool_without_an_object_can_be_named_too() -> None:
    """Nothing is said of pools then."""
    meta = ObjectMeta(name="own", namespace="llm")
    spec = PoolSpec(selector=Selector(match_labels={}), target_ports=(PortNumber(number=8000),))
    standing = InferencePool(api_version="v1", kind="InferencePool", metadata=meta, spec=spec)
    made = Cluster("own", standing=standing)
    made.put(OBJECTIVE, "urgent", {"poolRef": {"name": "own"}})
    made.put(OBJECTIVE, "others", {"poolRef": {"name": "llama"}})
    assert list(made.claims()) == ["InferenceObjective llm/urgent"]
    assert made.said("InferenceObjective llm/urgent")["Ready"].startswith("True")


def test_an_older_pool_is_judged_as_todays() -> None:
    """By its own group."""
    made = Cluster(pool_group=OLD_GROUP)
    spec = {"selector": {"app": "llama"}, "targetPortNumber": 8000, "extensionRef": {"name": "epp"}}
    made.put(POOLS[OLD_GROUP], "llama", spec)
    made.pod("a")
    assert made.said("InferencePool llm/llama")["Ready"].startswith("True")
