"""What is said of an object in its status, and how that fits into what others have written there. Pure.

What is true is `igw.discovery.verdicts`' business, writing it `status`'.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from igw.kubernetes.kinds import OLD_GROUP, Kind

CONTROLLER = "igw.dev/endpoint-picker"
"""Who we are, in `controllerName` of a pool's parents and as the reporter of Events."""

ACCEPTED, RESOLVED_REFS, READY = "Accepted", "ResolvedRefs", "Ready"
_MOST_CONDITIONS = 8
_MOST_PARENTS = 32
_LONGEST_MESSAGE = 4096
_NOBODY = ("Status", "default")
"""Kind and name of the parent that stands for nobody, in v1alpha2."""


class Condition(msgspec.Struct, frozen=True):
    """One thing that is so, is not, or is not known."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    """One word for programs."""
    message: str
    """A sentence for people."""


class Parent(msgspec.Struct, frozen=True):
    """Whose entry of a pool's status is ours."""

    group: str
    kind: str
    name: str
    namespace: str


class Claim(msgspec.Struct, frozen=True):
    """An object as the API server has it, and what is to be said of it."""

    kind: Kind
    key: str
    """`namespace/name`."""
    uid: str
    generation: int
    version: str
    """The `resourceVersion` that *status* is of."""
    status: Any
    """As it is written now."""
    conditions: tuple[Condition, ...]
    """At least `READY`, which sums the others up."""
    parent: Parent | None = None
    """Only of pools, where every parent has conditions of its own."""

    @property
    def namespace(self) -> str:
        """Where it is."""
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        """What it is called there."""
        return self.key.partition("/")[2]

    @property
    def ready(self) -> Condition:
        """The condition that sums the others up."""
        return next(each for each in self.conditions if each.type == READY)

    @property
    def gist(self) -> set[tuple[int, str, str, str]]:
        """What is said but for the messages: those may hold counts, which change all the time."""
        return {(self.generation, each.type, each.status, each.reason) for each in self.conditions}

    @property
    def said(self) -> list[dict[str, Any]]:
        """The conditions that the status has of us; of an object other than a pool all that it has."""
        known = self._entries
        if self.parent is None:
            return known
        return next((each.get("conditions") or [] for each in known if _is_ours(each, self.parent)), [])

    @property
    def only_words(self) -> bool:
        """Whether what is said differs from what is to be said in messages at most."""
        return self.gist <= {
            (each.get("observedGeneration", 0), each["type"], each["status"], each["reason"])
            for each in self.said
        }

    @property
    def _entries(self) -> list[dict[str, Any]]:
        return (self.status if isinstance(self.status, dict) else {}).get(self._field) or []

    @property
    def _field(self) -> str:
        if self.parent is None:
            return "conditions"
        return "parent" if self.kind.group == OLD_GROUP else "parents"

    def written(self, now: str) -> dict[str, Any] | None:
        """Return the fields of `status` that say it, at the time *now* (RFC 3339); None if they say it already.

        What others have written stays to the letter. The time of a condition changes with its status only. None too if others have
        taken all the room there is.
        """
        known = self._entries
        if self.parent is None:
            found, most = _conditions(known, self, now), _MOST_CONDITIONS
        else:
            found, most = _parents(known, self, self.parent, now), _MOST_PARENTS
        return {self._field: found} if found != known and len(found) <= most else None


def _conditions(known: list[dict[str, Any]], claim: Claim, now: str) -> list[dict[str, Any]]:
    found = {each["type"]: each for each in known}
    for each in claim.conditions:
        old = found.get(each.type, {})
        since = old.get("lastTransitionTime") if old.get("status") == each.status else None
        found[each.type] = {
            "type": each.type,
            "status": each.status,
            "reason": each.reason,
            "message": each.message[:_LONGEST_MESSAGE],
            "observedGeneration": claim.generation,
            "lastTransitionTime": since or now,
        }
    return list(found.values())


def _parents(known: list[dict[str, Any]], claim: Claim, parent: Parent, now: str) -> list[dict[str, Any]]:
    ours: dict[str, Any] = {
        "parentRef": msgspec.structs.asdict(parent),
        "conditions": _conditions(claim.said, claim, now),
    }
    if claim.kind.group != OLD_GROUP:
        ours["controllerName"] = CONTROLLER
    found: list[dict[str, Any]] = []
    placed = False
    for each in known:
        ref = each.get("parentRef", {})
        if not _is_ours(each, parent):
            if (ref.get("kind"), ref.get("name")) != _NOBODY:
                found.append(each)
        elif not placed:
            found.append(ours)
            placed = True
    return found if placed else [*found, ours]


def _is_ours(entry: dict[str, Any], parent: Parent) -> bool:
    """Return whether an entry is ours; v1alpha2 has no name of a controller, so the parent has to tell."""
    if "controllerName" in entry:
        return bool(entry["controllerName"] == CONTROLLER)
    return bool(entry.get("parentRef") == msgspec.structs.asdict(parent))
