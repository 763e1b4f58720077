"""When somebody beside the model servers may be asked again: few questions at once, and none for a while after failures in a row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_OPEN = 64
"""Questions to one server at once; beyond them requests go without an answer."""
ENOUGH_FAILURES = 5
PAUSE_SECONDS = 5.0


class Patience:
    """What one server has been like. Late and failing, it costs requests nothing but its answers."""

    def __init__(self, clock: Callable[[], float], complain: Callable[[str], None]) -> None:
        """*complain* is told why a pause begins, once until a question has been answered again."""
        self._clock = clock
        self._complain = complain
        self._open = self._failures = 0
        self._not_before = 0.0
        self._complained = False

    @property
    def may_ask(self) -> bool:
        """Whether there is room for one more question, and it is not left alone."""
        return self._open < MOST_OPEN and self._clock() >= self._not_before

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Take the block as one question: it is answered if it ends well, and failed, or late if cancelled, if it raises."""
        self._open += 1
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            self._failed(
                "it is late" if isinstance(error, asyncio.CancelledError) else str(error) or repr(error)
            )
            raise
        else:
            self._failures, self._complained = 0, False
        finally:
            self._open -= 1

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures < ENOUGH_FAILURES:
            return
        self._failures = 0
        self._not_before = self._clock() + PAUSE_SECONDS
        if not self._complained:
            self._complained = True
            self._complain(why)
