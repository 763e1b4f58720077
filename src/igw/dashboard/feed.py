"""Frames once a second for all who look, made once, and none while nobody does. What a frame says is `state`'s business."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

EVERY_SECONDS = 1.0


class Feed:
    """Makes a frame at most every `EVERY_SECONDS`."""

    def __init__(self, make: Callable[[], bytes], clock: Callable[[], float]) -> None:
        """Take what makes a frame."""
        self._make = make
        self._clock = clock
        self._closing = asyncio.Event()
        self._frame, self._made_at = b"", -EVERY_SECONDS
        self.viewers = 0

    def frame(self) -> bytes:
        """Return the latest one, a new one if that is due."""
        # Viewers wake up at about the same time, each a little early or late.
        if self._clock() - self._made_at >= 0.9 * EVERY_SECONDS or not self._frame:
            self._frame, self._made_at = self._make(), self._clock()
        return self._frame

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield frames until the feed is closed."""
        self.viewers += 1
        try:
            while not self._closing.is_set():
                yield self.frame()
                due = self._made_at + EVERY_SECONDS - self._clock()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due)):
                        await self._closing.wait()
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._frame = b""

    def close(self) -> None:
        """End every stream."""
        self._closing.set()
