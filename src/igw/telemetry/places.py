"""Who gets a name of their own where there is room for so many: keys that clients choose, ranked by successful answers. What a name is for is not known here.

Invented keys cost their inventor nothing, successful answers do. So a quarter of the places is given on sight, the rest for an answer, and when all are
taken a key needs more answers than somebody who has a place. Answers fade: who is gone makes room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_ON_SIGHT_SHARE = 0.25
_TRYING = 4
"""So many times as many keys as there are places are remembered that have none."""
_FADE_EVERY = 64
"""All answers count half after so many answers per place."""


class Places(Generic[Key]):
    """At most *limit* keys with a place.

    No key loses its place to one with fewer answers; none without any answer takes one beyond the first quarter.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._on_sight = max(1, int(limit * _ON_SIGHT_SHARE))
        self._answers: dict[Key, int] = {}
        self._trying: OrderedDict[Key, int] = OrderedDict()  # the one that was heard of last at the end
        self._least = 0  # nobody with a place has fewer answers
        self._until_fade = limit * _FADE_EVERY

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: Key) -> bool:
        return key in self._answers

    def seen(self, key: Key) -> bool:
        """Return whether *key* has a place; it takes one if that costs nothing."""
        if key in self._answers:
            return True
        if len(self._answers) >= self._on_sight:
            return False
        self._place(key, 0)
        return True

    def answered(self, key: Key) -> Key | None:
        """Count a successful answer to *key*; return whose place it took, None if it took nobody's."""
        self._until_fade -= 1
        if self._until_fade <= 0:
            self._fade()
        if key in self._answers:
            self._answers[key] += 1
            return None
        answers = self._trying.pop(key, 0) + 1
        if len(self._answers) < self._limit:
            self._place(key, answers)
            return None
        if answers > self._least:
            # Of equals the last to come goes first: who keeps coming with new names displaces his own.
            last = min(reversed(self._answers), key=self._answers.__getitem__)
            self._least = self._answers[last]
            if answers > self._least:
                del self._answers[last]
                self._place(key, answers)
                return last
        self._trying[key] = answers
        if len(self._trying) > _TRYING * self._limit:
            self._trying.popitem(last=False)
        return None

    def _place(self, key: Key, answers: int) -> None:
        self._answers[key] = answers
        self._least = min(self._least, answers)

    def _fade(self) -> None:
        self._until_fade = self._limit * _FADE_EVERY
        self._least //= 2
        for counts in (self._answers, self._trying):
            for key, answers in counts.items():
                counts[key] = answers // 2
