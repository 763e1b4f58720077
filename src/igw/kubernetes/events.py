"""What is told of an object as an Event (events.k8s.io/v1): the same thing again counts up, and all in all there are few. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from igw.kubernetes.conditions import CONTROLLER, Claim, Condition
from igw.kubernetes.kinds import EVENTS

_BURST = 25.0
_PER_SECOND = 0.1
_MOST_KNOWN = 256
_LONGEST_NOTE = 1024
_LONGEST_INSTANCE = 128


class Telling(msgspec.Struct, frozen=True):
    """An Event to create, or what to merge into one that is there."""

    name: str
    namespace: str
    body: dict[str, Any]
    again: bool


class Events:
    """Events of one process, *instance*. Told twice they are one with a count; above a burst of 25 there is one in 10 s at most."""

    def __init__(self, instance: str) -> None:
        self.dropped = 0
        """Events that would have been too many."""
        self._instance = instance[:_LONGEST_INSTANCE]
        self._counts: dict[str, int] = {}
        self._room = _BURST
        self._last = 0.0

    def tell(self, claim: Claim, condition: Condition, now: float, wall: str) -> Telling | None:
        """Return how to tell that *condition* is wrong, at *now* seconds and the time *wall*; None: not now."""
        self._room = min(_BURST, self._room + (now - self._last) * _PER_SECOND)
        self._last = now
        if self._room < 1.0:
            self.dropped += 1
            return None
        self._room -= 1.0
        same = "\0".join((self._instance, claim.uid, condition.reason, condition.message))
        name = f"{claim.name[:220]}.{hashlib.sha256(same.encode()).hexdigest()[:16]}"
        count = self._counts.pop(name, 0) + 1
        self._counts[name] = count  # the last to come is the last to go
        if len(self._counts) > _MOST_KNOWN:
            del self._counts[next(iter(self._counts))]
        if count > 1:
            series = {"count": count, "lastObservedTime": wall}
            return Telling(name, claim.namespace, {"series": series}, again=True)
        return Telling(name, claim.namespace, self._new(claim, condition, name, wall), again=False)

    def forget(self, name: str) -> None:
        """Take that there is no such Event, or not any more: the API server keeps them for an hour."""
        self._counts.pop(name, None)

    def _new(self, claim: Claim, condition: Condition, name: str, wall: str) -> dict[str, Any]:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.name,
            "metadata": {"name": name, "namespace": claim.namespace},
            "eventTime": wall,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "type": "Warning",
            "reason": condition.reason,
            "action": "Check",
            "note": condition.message[:_LONGEST_NOTE],
            "regarding": {
                "apiVersion": claim.kind.api_version,
                "kind": claim.kind.name,
                "namespace": claim.namespace,
                "name": claim.name,
                "uid": claim.uid,
                "resourceVersion": claim.version,
            },
        }
