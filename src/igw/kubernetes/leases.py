"""Who of several replicas leads, by a Lease (coordination.k8s.io/v1): a state machine without I/O or clock. Asking is `electing`'s business.

Only the local clock counts: a Lease is over when it has not changed for as long as it lasts, whatever times are written in it. So clocks
that are set differently do no harm, and clocks that run differently none up to the ratio of `Timing.lease_seconds` to `renew_seconds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """How long is waited for what, in seconds; the defaults are client-go's."""

    lease_seconds: float = 15.0
    """Others take over when the Lease has not changed for as long."""
    renew_seconds: float = 10.0
    """Who could not renew for as long does not lead any more."""
    retry_seconds: float = 2.0
    """Between two attempts."""


class Lease(msgspec.Struct, frozen=True):
    """What a Lease says."""

    holder: str = ""
    """Empty: nobody's."""
    lease_seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    """How often it went to somebody else."""
    version: str = ""
    """Its `resourceVersion`; empty: there is no such Lease."""


class Election:
    """One replica's view of who leads. Times are seconds of its own clock, which never goes back."""

    def __init__(self, identity: str, random: Callable[[], float], timing: Timing | None = None) -> None:
        self.identity = identity
        self.timing = timing or Timing()
        self.must_read = True
        """Whether the Lease may be another than was seen last: somebody else's, or nobody knows what became of a bid."""
        self._random = random
        self._seen = Lease()
        self._changed = -math.inf
        self._renewed = -math.inf

    def leads(self, now: float) -> bool:
        """Return whether this replica leads. It ends by itself when it cannot be renewed."""
        return now < self._renewed + self.timing.renew_seconds

    @property
    def holder(self) -> str:
        """Who had the Lease when it was seen last."""
        return self._seen.holder

    def saw(self, lease: Lease, now: float) -> None:
        """Take what was read; *now* is after the answer."""
        if lease != self._seen:
            self._seen, self._changed = lease, now
        if lease.holder != self.identity:
            self._renewed = -math.inf
        self.must_read = False

    def bid(self, now: float, wall: str) -> Lease | None:
        """Return what to write, at the time *wall* (RFC 3339 with microseconds); None: another replica has it."""
        seen, self.must_read = self._seen, True
        ours = seen.holder == self.identity
        if seen.holder and not ours and now < self._changed + max(1, seen.lease_seconds):
            return None
        return Lease(
            self.identity,
            math.ceil(self.timing.lease_seconds),
            seen.acquired if ours else wall,
            wall,
            seen.transitions + (bool(seen.version) and not ours),
            seen.version,
        )

    def won(self, lease: Lease, asked: float) -> None:
        """Take a bid as the API server has kept it; *asked* is before the request."""
        self._seen, self._changed, self._renewed = lease, asked, asked
        self.must_read = False

    def release(self, now: float, wall: str) -> Lease | None:
        """Return what to write so that others need not wait; None if it is not ours. This replica does not lead any more."""
        led, self._renewed = self.leads(now), -math.inf
        if not led:
            return None
        return msgspec.structs.replace(self._seen, holder="", lease_seconds=1, acquired=wall, renewed=wall)

    def wait_seconds(self, now: float) -> float:
        """Return when to ask again: in time for who leads, varied for who does not."""
        varied = 0.0 if self.leads(now) else 1.2 * self._random()
        return self.timing.retry_seconds * (1.0 + varied)


def read(body: dict[str, Any]) -> Lease:
    """Return what the API server's object says."""
    spec = body.get("spec") or {}
    return Lease(
        spec.get("holderIdentity") or "",
        spec.get("leaseDurationSeconds") or 0,
        spec.get("acquireTime") or "",
        spec.get("renewTime") or "",
        spec.get("leaseTransitions") or 0,
        body["metadata"]["resourceVersion"],
    )


def body(lease: Lease, name: str, namespace: str) -> dict[str, Any]:
    """Return the object that says *lease*. With a version it replaces no other than that one."""
    version = {"resourceVersion": lease.version} if lease.version else {}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace, **version},
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.lease_seconds,
            "acquireTime": lease.acquired,
            "renewTime": lease.renewed,
            "leaseTransitions": lease.transitions,
        },
    }
