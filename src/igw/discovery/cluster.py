"""Objects of a cluster -> the manifests and pools that files would give, change by change. Pure; asking the API server is `watching`'s business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from igw.config.conversion import todays_pool
from igw.config.decode import without_unknown
from igw.config.documents import Document
from igw.config.inference import InferencePool
from igw.config.manifests import Manifests, checked
from igw.config.models import InferenceModelRewrite, InferenceObjective
from igw.discovery.members import Members
from igw.discovery.source import Found, Refusal
from igw.errors import ConfigError
from igw.kubernetes.kinds import OBJECTIVES, OLD_GROUP, POOL_GROUP, POOLS, REWRITES, Kind
from igw.kubernetes.objects import Pod, Stored

Read: TypeAlias = InferencePool | InferenceModelRewrite | InferenceObjective

_SHAPES: dict[str, type[Read]] = {
    "InferencePool": InferencePool,
    "InferenceModelRewrite": InferenceModelRewrite,
    "InferenceObjective": InferenceObjective,
}


class Scope(msgspec.Struct, frozen=True):
    """Which objects of a namespace are a picker's."""

    namespace: str
    pool_name: str = ""
    """Its only pool; empty: all there are."""
    pool_group: str = POOL_GROUP
    standing: InferencePool | None = None
    """A pool that the cluster has no object of; every Pod that is told of is its."""

    @property
    def pools(self) -> Kind:
        """Which InferencePools: there are two, each with a group of its own."""
        return POOLS[self.pool_group]

    def pool_of(self, document: Document) -> str | None:
        """Return which pool of ours or of others an object is or is about; empty if it cannot be read; None: of another group."""
        if document.kind == "InferencePool":
            return document.name
        spec = document.body.get("spec")
        ref = spec.get("poolRef") if isinstance(spec, dict) else None
        if not isinstance(ref, dict):
            return ""
        # Newer CRDs of llm-d write their own group where nobody wrote one.
        same = ref.get("group", POOL_GROUP) in (self.pool_group, "llm-d.ai")
        return str(ref.get("name", "")) if same else None

    def has(self, document: Document) -> bool:
        """Return whether an object is a pool of ours, or about one; also if it cannot be read."""
        name = self.pool_of(document)
        return name is not None and (not self.pool_name or name in ("", self.pool_name))


class Known(msgspec.Struct):
    """One object: how it is written, what of it is in force, and why that is not what is written."""

    document: Document
    value: Read | None
    refusal: Refusal | None = None


class ClusterView:
    """What a cluster says, kept up to date.

    An object that cannot be used changes nothing: what it said before stays in force, and if it said nothing before it is left out.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.seen_pools: dict[str, None] = {}
        """InferencePools of the namespace, ours and others', by `namespace/name`."""
        self.members: dict[str, Members] = {}
        """Who serves each pool."""
        self._pods: dict[str, Pod] = {}
        self._objects: dict[Kind, dict[str, Known]] = {
            kind: {} for kind in (scope.pools, *OBJECTIVES, *REWRITES)
        }
        self._manifests: Manifests | None = None

    def pods(self, changes: Mapping[str, Pod | None]) -> None:
        """Take Pods as they are now, by `namespace/name`; None: gone."""
        for key, pod in changes.items():
            if pod is None:
                self._pods.pop(key, None)
            else:
                self._pods[key] = pod
            for members in self.members.values():
                members.put(key, pod)

    def objects(self, kind: Kind, changes: Mapping[str, Stored | None]) -> None:
        """Take objects of *kind* as they are now, by `namespace/name`; None: gone."""
        known = self._objects[kind]
        for key, stored in changes.items():
            before = known.get(key)
            if kind is self.scope.pools:
                self._saw(key, there=stored is not None)
            if stored is None or not self.scope.has(stored.document):
                known.pop(key, None)
            elif before is None or before.document != stored.document:
                known[key] = _read(stored.document, before.value if before is not None else None)
            else:
                continue
            self._manifests = None

    def found(self) -> Found:
        """Return what all of it says now."""
        if self._manifests is None:
            self._manifests = self._assembled()
            self._follow(self._manifests.pools)
        pools = {key: members.pool for key, members in self.members.items()}
        return Found(self._manifests, pools, tuple(self._refusals()))

    def known(self, kind: Kind) -> Mapping[str, Known]:
        """Return the objects of *kind* that are ours, by `namespace/name`."""
        return self._objects[kind]

    def refusals(self, kind: Kind) -> dict[str, Refusal]:
        """Return which objects of *kind* are not in force as they are written, by `namespace/name`."""
        found = {key: each.refusal for key, each in self._objects[kind].items() if each.refusal is not None}
        for newer, older in (OBJECTIVES, REWRITES):
            if kind is not older:
                continue
            problem = f"there is one of this name in {newer.group} too, which counts"
            for key in self._objects[older].keys() & self._objects[newer].keys():
                generation = _generation(self._objects[older][key].document)
                found[key] = Refusal(
                    older.name, key, generation, "$.apiVersion", problem, "delete one of them", "nothing"
                )
        return found

    def _saw(self, key: str, *, there: bool) -> None:
        if there:
            self.seen_pools[key] = None
        else:
            self.seen_pools.pop(key, None)

    def _assembled(self) -> Manifests:
        standing = self.scope.standing
        pools = (standing,) if standing is not None else self._values((self.scope.pools,))
        return Manifests(
            pools=tuple(each for each in pools if isinstance(each, InferencePool)),
            objectives=tuple(e for e in self._values(OBJECTIVES) if isinstance(e, InferenceObjective)),
            rewrites=tuple(e for e in self._values(REWRITES) if isinstance(e, InferenceModelRewrite)),
        )

    def _values(self, kinds: Iterable[Kind]) -> list[Read]:
        """Return what is in force of *kinds* by `namespace/name`; of one name in several groups the first counts."""
        found: dict[str, Read] = {}
        for kind in kinds:
            for key, each in self._objects[kind].items():
                if each.value is not None:
                    found.setdefault(key, each.value)
        return [found[key] for key in sorted(found)]

    def _follow(self, pools: tuple[InferencePool, ...]) -> None:
        before, self.members = self.members, {}
        for pool in pools:
            members = before.get(pool.key)
            if members is None or members.spec.spec != pool.spec:
                members = Members(pool, self._pods.values())
            self.members[pool.key] = members

    def _refusals(self) -> Iterator[Refusal]:
        for kind in self._objects:
            yield from self.refusals(kind).values()
        for members in self.members.values():
            for key, error in members.refused.items():
                yield Refusal("Pod", key, 0, error.where, error.problem, error.hint, "nothing")


def _read(document: Document, last: Read | None) -> Known:
    """Return what is in force of *document*: what it says, else *last*."""
    generation, key = _generation(document), f"{document.namespace}/{document.name}"
    todays = document
    try:
        if document.api_version == POOLS[OLD_GROUP].api_version and document.kind == "InferencePool":
            todays = todays_pool(document)
        known, dropped = without_unknown(todays, _SHAPES[document.kind])
        value = checked(known)
        _check_pool_kind(value)
    except ConfigError as error:
        where = error.where.removeprefix(f"{document.source} ")
        refusal = Refusal(
            document.kind,
            key,
            generation,
            where,
            error.problem,
            error.hint,
            "nothing" if last is None else "last",
        )
        return Known(document, last, refusal)
    if not dropped:
        return Known(document, value)
    problem = f"{', '.join(dropped)}: not known here and passed over"
    refusal = Refusal(document.kind, key, generation, dropped[0], problem, "a newer igw may know it", "rest")
    return Known(document, value, refusal)


def _check_pool_kind(value: Read) -> None:
    if not isinstance(value, InferencePool) and value.spec.pool_ref.kind != "InferencePool":
        problem = f"`{value.spec.pool_ref.kind}` is no kind of pool"
        raise ConfigError("$.spec.poolRef.kind", problem, "write InferencePool")


def _generation(document: Document) -> int:
    return int(document.body["metadata"].get("generation") or 0)
