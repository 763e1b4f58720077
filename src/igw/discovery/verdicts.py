"""What is true of a cluster's objects: which can be used, whether what they name is there, who serves. Pure.

How that is written is `igw.kubernetes.conditions`' business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, TypeAlias

from igw.config.decode import nearest
from igw.config.inference import InferencePool, PickerRef
from igw.config.models import InferenceModelRewrite, InferenceObjective
from igw.discovery.cluster import ClusterView, Read
from igw.discovery.members import Members
from igw.discovery.source import Refusal
from igw.kubernetes.conditions import ACCEPTED, READY, RESOLVED_REFS, Claim, Condition, Parent
from igw.kubernetes.kinds import OBJECTIVES, REWRITES, Kind
from igw.kubernetes.objects import Service, Stored

AsStored: TypeAlias = Mapping[Kind, Mapping[str, Stored]]
"""All objects of the namespace, kind by kind, by `namespace/name`."""
Services: TypeAlias = Mapping[str, Service] | None
"""By `namespace/name`; None: nobody lets us see them."""

_REFUSED = "Refused"
_FEW = 8
_MEANWHILE = {
    "FailOpen": "gateways send requests to any endpoint meanwhile (FailOpen)",
    "FailClose": "gateways refuse requests meanwhile (FailClose)",
}


def claims(view: ClusterView, stored: AsStored, services: Services) -> Iterator[Claim]:
    """Yield what is to be said of every object that is ours.

    Of those that are about a pool that is not there too: nobody else would say it.
    """
    scope = view.scope
    for kind in (*((scope.pools,) if scope.standing is None else ()), *OBJECTIVES, *REWRITES):
        refusals, ours = view.refusals(kind), view.known(kind)
        for key, one in stored.get(kind, {}).items():
            known, refusal, parent = ours.get(key), refusals.get(key), None
            if known is None:
                if (pool := _missing_pool(view, one)) is None:
                    continue
                conditions = _about(None, None, pool, view)
            elif kind is scope.pools:
                spec = known.value if isinstance(known.value, InferencePool) else None
                parent = _parent(spec, one)
                conditions = _pool(spec, refusal, view.members.get(key), services)
            else:
                pool = scope.pool_of(one.document) or ""
                conditions = _about(known.value, refusal, pool, view)
            meta = one.document.body["metadata"]
            uid, generation = str(meta.get("uid", "")), int(meta.get("generation") or 0)
            yield Claim(kind, key, uid, generation, one.version, one.status, conditions, parent)


def _missing_pool(view: ClusterView, one: Stored) -> str | None:
    """Return the pool that an object is about that is nobody's, because it is not there."""
    scope, name = view.scope, view.scope.pool_of(one.document)
    there = scope.standing is not None or f"{scope.namespace}/{name}" in view.seen_pools
    return None if there or one.document.kind == "InferencePool" else name


def _summed(accepted: Condition, resolved: Condition, ready: Condition) -> tuple[Condition, ...]:
    """Return the three, the last of them false for the reason of the first that is."""
    wrong = next((each for each in (accepted, resolved) if each.status == "False"), None)
    if wrong is not None:
        ready = Condition(READY, "False", wrong.reason, wrong.message)
    return accepted, resolved, ready


def _accepted(refusal: Refusal | None, message: str) -> Condition:
    if refusal is None:
        return Condition(ACCEPTED, "True", "Accepted", message)
    if refusal.in_force == "rest":
        return Condition(ACCEPTED, "True", "Accepted", f"{message}; {refusal.sentence}")
    kept = "; what it said before stays in force" if refusal.in_force == "last" else ""
    return Condition(ACCEPTED, "False", _REFUSED, refusal.sentence + kept)


def _resolved(status: Literal["True", "False", "Unknown"], reason: str, message: str) -> Condition:
    return Condition(RESOLVED_REFS, status, reason, message)


_UNREAD = _resolved("Unknown", _REFUSED, "what it names is not known, because it cannot be used")


def _about(
    value: Read | None, refusal: Refusal | None, pool: str, view: ClusterView
) -> tuple[Condition, ...]:
    """Return what is to be said of an objective or a rewrite of *pool*."""
    accepted = _accepted(refusal, _in_words(value))
    resolved = _pool_ref(pool, view) if pool else _UNREAD
    ready = Condition(READY, "True", "Ready", f"in force for {view.scope.namespace}/{pool}")
    return _summed(accepted, resolved, ready)


def _in_words(value: Read | None) -> str:
    if isinstance(value, InferenceObjective):
        return f"requests that name it have priority {value.spec.priority}"
    if not isinstance(value, InferenceModelRewrite):
        return "it can be used"
    rules = value.spec.rules
    generic = [f"$.spec.rules[{index}]" for index, rule in enumerate(rules) if not rule.matches]
    every = f"; {generic[0]} takes every request that no rule takes by its model" if generic else ""
    return f"{_count(len(rules), 'rule')}{every}"


def _pool_ref(pool: str, view: ClusterView) -> Condition:
    scope, key = view.scope, f"{view.scope.namespace}/{pool}"
    known = [scope.standing.key] if scope.standing is not None else list(view.seen_pools)
    if key in known:
        return _resolved("True", "ResolvedRefs", f"it is about the pool {key}")
    near = _near(key, known, scope.pools.resource)
    return _resolved(
        "False",
        "PoolNotFound",
        f"$.spec.poolRef.name: there is no {scope.pools.name} {key} in {scope.pools.group} ({near})",
    )


def _pool(
    spec: InferencePool | None, refusal: Refusal | None, members: Members | None, services: Services
) -> tuple[Condition, ...]:
    """Return what is to be said of a pool."""
    accepted = _accepted(refusal, "an endpoint picker of igw follows it")
    if spec is None or members is None:
        return _summed(accepted, _UNREAD, Condition(READY, "Unknown", "Pending", "it is being read"))
    return _summed(accepted, _picker_ref(spec, services), _served(spec, members))


def _parent(spec: InferencePool | None, one: Stored) -> Parent:
    """Return whose entry is ours: the Service by which gateways reach the picker."""
    ref = spec.spec.endpoint_picker_ref if spec is not None else None
    document = one.document
    if ref is None or (ref.group, ref.kind) != ("", "Service"):
        return Parent("igw.dev", "EndpointPicker", document.name, document.namespace)
    return Parent("", "Service", ref.name, document.namespace)


def _picker_ref(spec: InferencePool, services: Services) -> Condition:
    ref = spec.spec.endpoint_picker_ref
    if ref is None:
        message = "it names no endpoint picker: what follows from that is up to its gateways"
        return _resolved("True", "ResolvedRefs", message)
    if (ref.group, ref.kind) != ("", "Service"):
        kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
        return _unresolved(ref, "kind", f"`{kind}` cannot be an endpoint picker", "write Service")
    if services is None:
        message = "the picker may not see Services: give its Role the verbs list and watch on services"
        return _resolved("Unknown", "NotAllowed", message)
    key = f"{spec.namespace}/{ref.name}"
    service = services.get(key)
    if service is None:
        return _unresolved(ref, "name", f"there is no Service {key}", _near(key, services, "services"))
    return _at_service(ref, key, service)


def _at_service(ref: PickerRef, key: str, service: Service) -> Condition:
    port = ref.port.number if ref.port is not None else 0
    if service.type == "ExternalName":
        problem, hint = f"the Service {key} is of type ExternalName", "write one that selects Pods"
        return _unresolved(ref, "name", problem, hint)
    if port not in service.ports:
        hint = f"it has {', '.join(map(str, service.ports)) or 'none'}"
        return _unresolved(ref, "port", f"the Service {key} has no port {port}", hint)
    return _resolved("True", "ResolvedRefs", f"its endpoint picker is the Service {key}, port {port}")


def _unresolved(ref: PickerRef, field: str, problem: str, hint: str) -> Condition:
    message = f"$.spec.endpointPickerRef.{field}: {problem} ({hint}); {_MEANWHILE[ref.failure_mode]}"
    return _resolved("False", "InvalidExtensionRef", message)


def _served(spec: InferencePool, members: Members) -> Condition:
    labels = ",".join(f"{name}={value}" for name, value in sorted(spec.spec.selector.match_labels.items()))
    known, ready = len(members.selected), sum(members.selected.values())
    if not known:
        return Condition(READY, "False", "NoPods", f"no Pod of {spec.namespace} has the labels {labels}")
    if not ready:
        message = f"none of {_count(known, 'Pod')} with the labels {labels} is ready"
        return Condition(READY, "False", "NoReadyPods", message)
    left_out = "".join(f"; {error}" for _, error in sorted(members.refused.items())[:1])
    count = len(members.pool)
    message = (
        f"{_count(count, 'endpoint')} at {ready} of {_count(known, 'Pod')} with the labels {labels}{left_out}"
    )
    if not count:
        hint = "" if left_out else "; the annotation llm-d.ai/active-ports leaves none of the target ports"
        return Condition(READY, "False", "NoEndpoints", message + hint)
    return Condition(READY, "True", "Ready", message)


def _near(key: str, known: Collection[str], resource: str) -> str:
    """Return a hint: what is there of that name nearly, or all if they are few."""
    hint = nearest(key, known)
    if not known or (len(known) > _FEW and hint.startswith("known: ")):
        return f"`kubectl get {resource} -n {key.partition('/')[0]}` lists those there are"
    return hint


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
