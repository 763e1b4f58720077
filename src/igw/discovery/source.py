"""What the picker asks of whatever tells it of pools, and files as such a source. A cluster as one is `watching`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec
from prometheus_client.core import Metric

from igw.config.manifests import Manifests, load, with_picker_config
from igw.discovery import files, snapshot
from igw.endpoint import Pool
from igw.errors import ConfigError


class Refusal(msgspec.Struct, frozen=True):
    """An object of a cluster of which not everything is in force, and why."""

    kind: str
    key: str
    """`namespace/name`."""
    generation: int
    """Its `metadata.generation` at the time, 0 for kinds without one."""
    where: str
    """Path in the object."""
    problem: str
    hint: str
    in_force: Literal["nothing", "last", "rest"]
    """What is in force of it: nothing, what it said before, or all but the field at *where*."""

    @property
    def sentence(self) -> str:
        """Where, what and the cure, as `igw check` says it of a file."""
        return str(ConfigError(self.where, self.problem, self.hint))


class Found(msgspec.Struct, frozen=True):
    """What there is to serve. Parts that did not change are the same objects as in the one before."""

    manifests: Manifests
    pools: Mapping[str, Pool]
    """By `namespace/name`."""
    refusals: tuple[Refusal, ...] = ()


OnFound: TypeAlias = Callable[[Found], Awaitable[None] | None]
OnError: TypeAlias = Callable[[ConfigError], None]


class Source(Protocol):
    """Tells what there is to serve, and every change of it."""

    @property
    def complete(self) -> asyncio.Event:
        """Set once everything is known that is needed to serve, and was told."""
        ...

    def read(self) -> Found:
        """Return what can be known without waiting.

        Raises:
            ConfigError: files that cannot be used.
        """
        ...

    async def watch(self, known: Found, on_found: OnFound, on_error: OnError, stop: asyncio.Event) -> None:
        """Tell *on_found* of every change since *known* until *stop* is set.

        What cannot be used goes to *on_error*, and so does a `ConfigError` that *on_found* raises; it changes nothing.
        """
        ...

    def collect(self) -> Iterable[Metric]:
        """Yield how the source does."""
        ...


class PickerConfigFile(msgspec.Struct, frozen=True):
    """Where an `EndpointPickerConfig` is written besides manifests: in *file*, or as *text*, which wins."""

    file: Path | None = None
    text: str = ""

    def into(self, manifests: Manifests) -> Manifests:
        """Return *manifests* with it, if there is one.

        Raises:
            ConfigError: it cannot be used.
        """
        return with_picker_config(manifests, self.file, self.text)

    @property
    def paths(self) -> tuple[Path, ...]:
        """What to watch."""
        return (self.file,) if self.file is not None else ()


class FileSource:
    """Manifests in *paths*, watched."""

    def __init__(self, paths: Sequence[Path], config: PickerConfigFile) -> None:
        self.complete = asyncio.Event()
        self.complete.set()
        self._paths = paths
        self._config = config

    def read(self) -> Found:
        """Return what the files say."""
        manifests = self._read()
        return Found(manifests, snapshot.pools(manifests))

    async def watch(self, known: Found, on_found: OnFound, on_error: OnError, stop: asyncio.Event) -> None:
        """Tell of every edit."""

        async def changed(manifests: Manifests) -> None:
            told = on_found(Found(manifests, snapshot.pools(manifests)))
            if inspect.isawaitable(told):
                await told

        paths = (*self._paths, *self._config.paths)
        await files.watch(paths, changed, on_error, stop, known.manifests, self._read)

    def collect(self) -> Iterable[Metric]:
        """Yield nothing: files are there or not."""
        return ()

    def _read(self) -> Manifests:
        return self._config.into(load(self._paths))


_: type[Source] = FileSource
