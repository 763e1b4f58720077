"""Tokens of a cluster: the API server says whose a token is, and whether they may. What is done with the answer is `access`'s business.

Source: `TokenReview` (authentication.k8s.io/v1) and `SubjectAccessReview` (authorization.k8s.io/v1), as upstream's picker asks them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import httpx2
import structlog

from igw.debugging.access import ALLOWED, Answer, Verdict
from igw.kubernetes.client import Refused, ask

log = structlog.get_logger("debugging")

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_GOOD_SECONDS, _BAD_SECONDS = 60.0, 10.0
"""How long answers are believed. One that allows: so long at most somebody who has lost a right still has it."""
_MOST_ANSWERS = 1024
_MOST_ASKED = 4
"""At once: whoever invents tokens must not have the API server flooded in our name."""
_PATIENCE_SECONDS = 5.0


class Reviews:
    """Asks the API server, and remembers what it said for a short while. Tokens are not kept, only their digests."""

    def __init__(self, http: httpx2.AsyncClient, clock: Callable[[], float]) -> None:
        """Take what the API server is asked with (`igw.kubernetes.client.connection`)."""
        self._http = http
        self._clock = clock
        self._asking = asyncio.Semaphore(_MOST_ASKED)
        self._known: OrderedDict[tuple[bytes, str, str], tuple[Answer, float]] = OrderedDict()

    async def answer(self, token: str, verb: str, path: str) -> Answer:
        """Return whether the owner of *token* may do *verb* with *path*, which no rule of resources is about (`nonResourceURLs`)."""
        key = hashlib.sha256(token.encode()).digest(), verb, path
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._asking:
                answer = await self._asked(token, verb, path)
        except TimeoutError:
            return Answer(Verdict.UNDECIDED, "the API server does not say whose token this is; try again")
        except Refused as refused:
            log.warning("token_not_reviewed", problem=str(refused))
            return Answer(Verdict.UNDECIDED, _cure(refused))
        lasts = _GOOD_SECONDS if answer is ALLOWED else _BAD_SECONDS
        self._known[key] = answer, self._clock() + lasts
        self._known.move_to_end(key)
        if len(self._known) > _MOST_ANSWERS:
            self._known.popitem(last=False)
        return answer

    async def _asked(self, token: str, verb: str, path: str) -> Answer:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = _status(await ask(self._http, "POST", TOKENS, body))
        if not status.get("authenticated"):
            return Answer(
                Verdict.UNKNOWN, "the cluster does not know this token; `kubectl create token` makes one"
            )
        user = status.get("user") or {}
        spec = {"nonResourceAttributes": {"path": path, "verb": verb}, "user": user.get("username", "")}
        spec |= {name: user[name] for name in ("groups", "uid", "extra") if user.get(name)}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = _status(await ask(self._http, "POST", ACCESS, body))
        if status.get("allowed"):
            return ALLOWED
        cure = f'bind them a ClusterRole with nonResourceURLs ["{path}"] and verbs ["{verb}"]'
        return Answer(Verdict.FORBIDDEN, f"{spec['user']} may not {verb} {path}; {cure}")


def _status(review: dict[str, Any]) -> dict[str, Any]:
    found = review.get("status")
    return found if isinstance(found, dict) else {}


def _cure(refused: Refused) -> str:
    if refused.failure.status == httpx2.codes.FORBIDDEN:
        return (
            "the picker may not ask the API server whose token this is; bind its service account the ClusterRole "
            "system:auth-delegator, or start it with --no-metrics-endpoint-auth"
        )
    return "the API server cannot be asked whose token this is; the picker's log says why"
