"""Watches the files that manifests were read from and tells what they say now. Reading them is `igw.config.manifests`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import watchfiles

from igw.config.manifests import Manifests, load
from igw.errors import ConfigError

_QUIET_MILLISECONDS = 50
"""How long nothing may change before the files are read: an editor's delete and rename arrive as one change."""
_LONGEST_MILLISECONDS = 500
"""Files that never come to rest are read this often."""

OnChange = Callable[[Manifests], Awaitable[None] | None]
OnError = Callable[[ConfigError], None]


async def watch(
    paths: Sequence[Path],
    on_change: OnChange,
    on_error: OnError,
    stop: asyncio.Event,
    known: Manifests | None = None,
    reading: Callable[[], Manifests] | None = None,
) -> None:
    """Call *on_change* with the new manifests whenever the files say something else, until *stop* is set.

    An edit that cannot be used goes to *on_error* and changes nothing; so does a `ConfigError` that *on_change*
    raises. After such an edit the next good one is told even if it says what was in force. *known* is what the
    caller has already read: what has changed since is told at once, everything if it is None. Folders are watched
    rather than files, so that an editor's rename and Kubernetes' symbolic links are seen. *reading* says how they are read, if
    not as manifests only.
    """
    reader = _Reader(reading or (lambda: load(paths)), on_change, on_error, known)
    changes = watchfiles.awatch(
        *_folders(paths),
        watch_filter=None,
        recursive=False,
        stop_event=stop,
        step=_QUIET_MILLISECONDS,
        debounce=_LONGEST_MILLISECONDS,
    )
    coming = asyncio.ensure_future(anext(changes, None))
    try:
        await asyncio.sleep(
            0
        )  # the watch is in place from here on, so nothing is missed between reading and watching
        await reader.read()
        while await coming is not None:
            await reader.read()
            coming = asyncio.ensure_future(anext(changes, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await changes.aclose()


class _Reader:
    """Reads the files and remembers what was told last."""

    def __init__(
        self,
        reading: Callable[[], Manifests],
        on_change: OnChange,
        on_error: OnError,
        known: Manifests | None,
    ) -> None:
        self._reading = reading
        self._on_change = on_change
        self._on_error = on_error
        self._told = known
        self._trouble = ""

    async def read(self) -> None:
        try:
            manifests = self._reading()
            if manifests == self._told and not self._trouble:
                return
            answer = self._on_change(manifests)
            if inspect.isawaitable(answer):
                await answer
        except ConfigError as error:
            if str(error) != self._trouble:
                self._on_error(error)
            self._trouble = str(error)
            return
        self._told, self._trouble = manifests, ""


def _folders(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of *paths*, and of the files that symbolic links among them lead to."""
    places = [*paths, *(path.resolve() for path in paths)]
    return sorted({path if path.is_dir() else path.parent for path in places})
