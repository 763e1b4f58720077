"""What the API server has of one kind, as far as it has told, and what to ask it next: a state machine without I/O or clock.

Asking, and waiting in between, is `reflector`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from igw.kubernetes.objects import Event, Failure, Page

T = TypeVar("T")

PAGE_OBJECTS = 500
"""How many objects one answer to a list has at most; client-go's."""
_GONE = 410
_ABSENT = 404
_PATIENCE = 3
"""A watch that the server refuses so many times in a row is given up for a new list."""


class Pace(msgspec.Struct, frozen=True):
    """How long to wait before asking again, in seconds. Each wait is varied by half, so that replicas do not ask together."""

    first: float = 0.2
    longest: float = 10.0
    absent: float = 30.0
    """For a kind that the server does not have."""
    steady: float = 1.0
    """A watch that lasted as long was a good one."""
    silent: float = 60.0
    """A watch that told nothing for as long, not even a bookmark, is not trusted to have had nothing to tell."""


class Ask(msgspec.Struct, frozen=True):
    """The next request: a watch from *version* on; a list if that is empty, or the rest of one from *token* on."""

    version: str = ""
    token: str = ""
    limit: int = PAGE_OBJECTS
    """Objects per answer; 0: all."""


class Mirror(Generic[T]):
    """The objects of one kind, by `namespace/name`, and the way to stay up to date.

    While it lists anew, what it knew before stands. Every change is returned once by the call that brought it: key -> the object as it
    is now, None if it is gone. *random* returns numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float], pace: Pace | None = None) -> None:
        self.objects: dict[str, T] = {}
        self.trouble: Failure | None = None
        """Why the last request failed, until one does not."""
        self.listed = False
        """Whether the server has told everything once."""
        self._listing: dict[str, T] = {}
        self._random = random
        self._pace = pace or Pace()
        self._ask = Ask()
        self._failures = 0
        self._heard = False

    @property
    def ask(self) -> Ask:
        """What to ask the server next."""
        return self._ask

    def page(self, page: Page[T]) -> dict[str, T | None]:
        """Take an answer to a list; return what changed, all of it with the last page."""
        self._listing.update(page.items)
        self.trouble = None
        if page.token:
            self._ask = msgspec.structs.replace(self._ask, token=page.token)
            return {}
        listed, self._listing = self._listing, {}
        self._ask, self._heard, self.listed = Ask(page.version), False, True
        return self._become(listed)

    def event(self, event: Event[T]) -> dict[str, T | None]:
        """Take what a watch told; return what changed."""
        self._heard, self.trouble = True, None
        self._ask = Ask(event.version or self._ask.version)
        if event.type == "BOOKMARK":
            return {}
        if event.value is None:
            return {event.key: None} if self.objects.pop(event.key, None) is not None else {}
        if self.objects.get(event.key) == event.value:
            return {}
        self.objects[event.key] = event.value
        return {event.key: event.value}

    def ended(self, lasted_seconds: float) -> float:
        """Take the regular end of a watch; return how long to wait, in seconds."""
        return self._after_watch(lasted_seconds, failed=False)

    def failed(self, failure: Failure, lasted_seconds: float = 0.0) -> tuple[float, dict[str, T | None]]:
        """Take a failure, of a watch after *lasted_seconds*; return how long to wait, in seconds, and what changed."""
        again = self.trouble is not None and self.trouble.status == failure.status
        self.trouble = failure
        watched = bool(self._ask.version)
        wait = self._after_watch(lasted_seconds, failed=True)
        refused_watch = watched and failure.status and self._failures >= _PATIENCE
        if failure.status == _GONE or refused_watch:
            # A list that takes longer to read than the server remembers must come in one piece.
            self._ask, self._listing = Ask(limit=PAGE_OBJECTS if watched else 0), {}
        changed: dict[str, T | None] = {}
        if failure.status == _ABSENT and not watched:
            wait = self._varied(self._pace.absent)
            if again:  # a server that starts may not know its kinds yet: once is no proof
                self._listing = {}
                changed = self._become({})
        return max(wait, failure.retry_after_seconds), changed

    def _after_watch(self, lasted_seconds: float, *, failed: bool) -> float:
        if lasted_seconds >= self._pace.steady:
            self._failures = 0
        if lasted_seconds >= self._pace.silent and not self._heard:
            self._ask = Ask()
        self._heard = False
        if not failed and lasted_seconds >= self._pace.steady:
            return 0.0
        self._failures += 1
        return self._varied(min(self._pace.longest, self._pace.first * 2.0 ** min(self._failures - 1, 30)))

    def _varied(self, seconds: float) -> float:
        return seconds * (0.5 + self._random())

    def _become(self, listed: dict[str, T]) -> dict[str, T | None]:
        before = self.objects
        changed: dict[str, T | None] = {key: None for key in before if key not in listed}
        changed |= {key: value for key, value in listed.items() if before.get(key) != value}
        self.objects = listed
        return changed
