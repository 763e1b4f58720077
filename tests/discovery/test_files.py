"""Edits of files, as editors and Kubernetes make them, reach whoever watches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from igw.config.manifests import Manifests, load
from igw.discovery.files import watch
from igw.errors import ConfigError

TEXT = "endpoints: [{name: one, address: 127.0.0.1, port: 8000}]\n"


class Watching:
    """What a watcher has told."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Manifests] = asyncio.Queue()
        self.errors: asyncio.Queue[ConfigError] = asyncio.Queue()

    async def names(self) -> list[str]:
        """Return the endpoints' names at the next change."""
        async with asyncio.timeout(10):
            return [endpoint.name for endpoint in (await self.changes.get()).endpoints]

    async def error(self) -> str:
        """Return the next error."""
        async with asyncio.timeout(10):
            return str(await self.errors.get())


@asynccontextmanager
async def watching(*paths: Path, known: bool = False) -> AsyncIterator[Watching]:
    """Watch *paths*; the first state is told, unless it is *known*."""
    told, stop = Watching(), asyncio.Event()
    manifests = load(paths) if known else None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(paths, told.changes.put, told.errors.put_nowait, stop, manifests))
        yield told
        stop.set()


async def test_an_edit_in_place_is_told(tmp_path: Path) -> None:
    """First what is there, then what it becomes."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    async with watching(path) as told:
        assert await told.names() == ["one"]
        path.write_text(TEXT.replace("one", "two"))
        assert await told.names() == ["two"]


async def test_an_editors_rename_and_a_moments_absence_are_one_edit(tmp_path: Path) -> None:
    """Delete and rename over: no error in between is fatal, the new content arrives."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    async with watching(path) as told:
        await told.names()
        for name in ("two", "three"):
            (tmp_path / "a.yaml~").write_text(TEXT.replace("one", name))
            path.unlink()
            (tmp_path / "a.yaml~").rename(path)
            assert await told.names() == [name]


async def test_kubernetes_swap_of_a_symbolic_link_is_seen(tmp_path: Path) -> None:
    """A ConfigMap volume: file -> ..data/file, and ..data is renamed over."""
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(TEXT.replace("one", version))
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with watching(tmp_path / "a.yaml") as told:
        assert await told.names() == ["one"]
        (tmp_path / "..data_tmp").symlink_to("..two")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - as the kubelet does it
        assert await told.names() == ["two"]


async def test_a_broken_edit_is_an_error_once_and_its_cure_is_told(tmp_path: Path) -> None:
    """Even if the cure is what was in force before."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    async with watching(path, known=True) as told:
        path.write_text("endpoints: [")
        assert f"{path} line" in await told.error()
        path.write_text("endpoints: [{nam: one, address: 127.0.0.1}]")
        assert "did you mean name?" in await told.error()
        path.write_text(TEXT)
        assert await told.names() == ["one"]
        path.unlink()
        assert "no such file" in await told.error()
        path.write_text(TEXT.replace("one", "two"))
        assert await told.names() == ["two"]
    assert told.changes.empty()
    assert told.errors.empty()


async def test_what_says_the_same_is_not_told(tmp_path: Path) -> None:
    """A comment, or another file of the folder; a new manifest of a watched folder is."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    async with watching(tmp_path, known=True) as told:
        path.write_text("# a comment\n" + TEXT)
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "b.yaml").write_text(TEXT.replace("one", "two"))
        assert await told.names() == ["one", "two"]
    assert told.changes.empty()


async def test_an_edit_between_reading_and_watching_is_not_missed(tmp_path: Path) -> None:
    """What changed since *known* was read is told at once."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    known = load([path])
    path.write_text(TEXT.replace("one", "two"))
    told, stop = Watching(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch([path], told.changes.put_nowait, told.errors.put_nowait, stop, known))
        assert await told.names() == ["two"]
        stop.set()


async def test_a_change_that_its_user_refuses_is_an_error_and_is_tried_again(tmp_path: Path) -> None:
    """A ConfigError from `on_change` is told like one of reading."""
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    told, stop = Watching(), asyncio.Event()

    def take(manifests: Manifests) -> None:
        if manifests.endpoints[0].name == "bad":
            raise ConfigError("somewhere", "refused")
        told.changes.put_nowait(manifests)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch([path], take, told.errors.put_nowait, stop))
        assert await told.names() == ["one"]
        path.write_text(TEXT.replace("one", "bad"))
        assert await told.error() == "somewhere: refused"
        path.write_text(TEXT)
        assert await told.names() == ["one"]
        stop.set()
