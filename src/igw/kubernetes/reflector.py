"""Keeps a mirror of one kind up to date by list and watch: the requests and the waiting. What follows from an answer is `mirror`'s.

See docs/decisions/0013-own-reflector.md for why it is ours.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Generic, TypeVar

import httpx2
import msgspec
import structlog

from igw.kubernetes.client import BROKEN, broken, permission, refusal
from igw.kubernetes.kinds import Kind
from igw.kubernetes.mirror import Ask, Mirror, Pace
from igw.kubernetes.objects import Decode, Event, Failure, event, page

T = TypeVar("T")

log = structlog.get_logger("kubernetes")

_WATCH_SECONDS = 300
"""For how long a watch is asked for, and up to twice that, so that not all are opened anew together."""
_SILENCE_SECONDS = 90.0
"""A watch that is silent for as long is broken: there are bookmarks every minute."""
_NONE_FOR_US = (httpx2.codes.FORBIDDEN, httpx2.codes.NOT_FOUND)
_LONGEST_LINE_BYTES = 8 << 20
"""etcd takes objects of 1.5 MB."""


class Selection(msgspec.Struct, frozen=True):
    """Which objects of a kind are followed; selectors as `kubectl get -l` and `--field-selector` take them."""

    kind: Kind
    namespace: str
    labels: str = ""
    fields: str = ""


class Counts(msgspec.Struct):
    """How it went, since the start."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    failures: int = 0


class Reflector(Generic[T]):
    """Follows the objects of *selection* and tells of every change: key -> the object as it is now, None if it is gone."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        selection: Selection,
        decode: Decode[T],
        told: Callable[[Mapping[str, T | None]], None],
        *,
        pace: Pace | None = None,
        needed: bool = False,
    ) -> None:
        self.selection = selection
        self.needed = needed
        """Whether nothing can be said without it; else a server that has no such kind, or does not let us see it, has none."""
        self.mirror: Mirror[T] = Mirror(random.random, pace)
        self.settled = asyncio.Event()
        """Set once everything was told, or it is clear that there is nothing to tell."""
        self.counts = Counts()
        self.watching = False
        """Whether a watch is open, so that changes arrive as they happen."""
        self._http = http
        self._decode = decode
        self._told = told

    async def run(self) -> None:
        """Follow until cancelled. Nothing that a server does ends it."""
        while True:
            wait = await (self._watch if self.mirror.ask.version else self._list)(self.mirror.ask)
            trouble = self.mirror.trouble
            unneeded = not self.needed and trouble is not None and trouble.status in _NONE_FOR_US
            if self.mirror.listed or unneeded:
                self.settled.set()
            if wait:
                await asyncio.sleep(wait)

    async def _list(self, ask: Ask) -> float:
        self.counts.lists += 1
        params = {"limit": str(ask.limit)} if ask.limit else {}
        try:
            answer = await self._http.get(
                self._path, params=self._params(params | ({"continue": ask.token} if ask.token else {}))
            )
            if answer.status_code != httpx2.codes.OK:
                return self._failed(refusal(answer))
            self._well()
            self._tell(self.mirror.page(page(answer.content, self._decode)))
        except (*BROKEN, msgspec.DecodeError) as error:
            return self._failed(broken(error))
        return 0.0

    async def _watch(self, ask: Ask) -> float:
        self.counts.watches += 1
        began = asyncio.get_running_loop().time()
        try:
            if (trouble := await self._follow(ask)) is not None:
                return self._failed(trouble, asyncio.get_running_loop().time() - began)
        except (*BROKEN, msgspec.DecodeError) as error:
            return self._failed(broken(error), asyncio.get_running_loop().time() - began)
        finally:
            self.watching = False
        return self.mirror.ended(asyncio.get_running_loop().time() - began)

    async def _follow(self, ask: Ask) -> Failure | None:
        params = self._params({
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": ask.version,
            "timeoutSeconds": str(random.randint(_WATCH_SECONDS, 2 * _WATCH_SECONDS)),
        })  # fmt: skip
        timeout = httpx2.Timeout(10.0, read=_SILENCE_SECONDS)
        # An event is worth a packet of its own: compressed they would be kept back until there are some more.
        headers = {"accept-encoding": "identity"}
        async with self._http.stream(
            "GET", self._path, params=params, headers=headers, timeout=timeout
        ) as answer:
            if answer.status_code != httpx2.codes.OK:
                await answer.aread()
                return refusal(answer)
            self.watching = True
            async for lines in _lines(answer):
                changes: dict[str, T | None] = {}
                try:
                    for line in lines:
                        told = event(line, self._decode)
                        if isinstance(told, Failure):
                            return told
                        changes |= self._heard(told)
                finally:
                    self._tell(changes)
        return None

    def _heard(self, told: Event[T]) -> dict[str, T | None]:
        self._well()
        self.counts.events += 1
        return self.mirror.event(told)

    def _tell(self, changes: Mapping[str, T | None]) -> None:
        if changes:
            self._told(changes)

    def _well(self) -> None:
        if self.mirror.trouble is not None:
            log.info("watch_recovered", resource=self.selection.kind.resource)

    def _failed(self, trouble: Failure, lasted_seconds: float = 0.0) -> float:
        self.counts.failures += 1
        known = self.mirror.trouble
        wait, changes = self.mirror.failed(trouble, lasted_seconds)
        if known is None or known.status != trouble.status:
            # What a server forgets, and kinds of older APIs that nobody has installed, are no reason to worry.
            mild = trouble.status == httpx2.codes.GONE or (
                trouble.status == httpx2.codes.NOT_FOUND and not self.needed
            )
            say = log.info if mild else log.warning
            say("watch_interrupted", resource=self.selection.kind.resource, namespace=self.selection.namespace,
                status=trouble.status, problem=trouble.message, hint=self._hint(trouble.status))  # fmt: skip
        self._tell(changes)
        return wait

    def _hint(self, status: int) -> str:
        kind = self.selection.kind
        if status == httpx2.codes.FORBIDDEN:
            return permission("verbs list and watch", kind.plural, kind.group)
        if status == httpx2.codes.NOT_FOUND:
            return f"there is no {kind.name} in {kind.api_version} here: install its CRD (`igw crds`) if you want it"
        if status == httpx2.codes.UNAUTHORIZED:
            return "the token or certificate is not valid here, or not any more"
        return "it is tried again"

    @property
    def _path(self) -> str:
        return self.selection.kind.path(self.selection.namespace)

    def _params(self, params: dict[str, str]) -> dict[str, str]:
        if self.selection.labels:
            params["labelSelector"] = self.selection.labels
        if self.selection.fields:
            params["fieldSelector"] = self.selection.fields
        return params


async def _lines(answer: httpx2.Response) -> AsyncIterator[list[bytes]]:
    """Yield the whole lines of *answer* as they arrive, those that arrive together in one list."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE_BYTES:
            raise msgspec.DecodeError("a line of the watch does not end")
        if lines:
            yield [line for line in lines if line]
