"""A mirror over HTTP: whatever a server does, it is followed again. What follows from which answer is `test_mirror`'s business."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from lightkube.config.kubeconfig import KubeConfig

from igw.kubernetes.client import configuration, connection
from igw.kubernetes.kinds import PODS
from igw.kubernetes.mirror import Pace
from igw.kubernetes.objects import Pod, pod
from igw.kubernetes.reflector import Reflector, Selection
from tests.kubernetes.apiserver import ApiServer, refusal

QUICK = Pace(first=0.001, longest=0.002, absent=0.01, steady=0.05)


class Following:
    """A reflector at work, and what it told."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.reflector: Reflector[Pod]
        self._news = asyncio.Event()

    def told(self, changes: Mapping[str, Pod | None]) -> None:
        assert changes, "told of nothing"
        for key, value in changes.items():
            if value is None:
                del self.pods[key]
            else:
                self.pods[key] = value
        self._news.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return when what was told makes *reached* true."""
        async with asyncio.timeout(10):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def until_names(self, *names: str) -> None:
        await self.until(lambda: sorted(self.pods) == [f"llm/{name}" for name in names])


@asynccontextmanager
async def following(address: str, labels: str = "", *, needed: bool = True) -> AsyncIterator[Following]:
    """Follow the Pods of the server at *address*."""
    found = Following()
    config = KubeConfig.from_server(address).get()
    assert config is not None
    from lightkube.config.models import User

    async with connection(config._replace(user=User(token="secret"))) as http:
        selection = Selection(PODS, "llm", labels)
        found.reflector = Reflector(http, selection, pod, found.told, pace=QUICK, needed=needed)
        task = asyncio.create_task(found.reflector.run())
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def followed(**options: str) -> AsyncIterator[tuple[ApiServer, Following]]:
    """Serve Pods and follow them."""
    server = ApiServer()
    server.put("a")
    async with server.serving() as address, following(address, **options) as found:
        await found.until_names("a")
        yield server, found


async def test_it_lists_once_and_then_watches() -> None:
    """With our credentials; from the version of the list on, with bookmarks, for a limited time."""
    async with followed(labels="app=x") as (server, found):
        server.put("b")
        server.delete("a")
        await found.until_names("b")
        lists, watch = server.asked
        assert lists == {"limit": "500", "labelSelector": "app=x"}
        assert 300 <= int(watch.pop("timeoutSeconds")) <= 600
        expected = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": "11",
            "labelSelector": "app=x",
        }
        assert watch == expected
        assert set(server.tokens) == {"Bearer secret"}
        assert found.reflector.settled.is_set()
        assert found.reflector.watching


async def test_a_list_comes_in_pages() -> None:
    """And is told as one change."""
    server = ApiServer()
    for number in range(1, 1202):
        server.put(f"gpu-{number}")
    async with server.serving() as address, following(address) as found:
        await found.until(lambda: bool(found.pods))
        assert len(found.pods) == 1201
        assert [each.get("continue") for each in server.asked[:3]] == [None, "500", "1000"]


async def test_a_broken_watch_goes_on_where_it_was() -> None:
    """Without a list; what happened meanwhile is told."""
    async with followed() as (server, found):
        server.put("b")
        await found.until_names("a", "b")
        server.cut()
        server.put("c")
        server.delete("a")
        await found.until_names("b", "c")
        assert found.reflector.counts.lists == 1
        assert server.asked[-1]["resourceVersion"] == "12"


@pytest.mark.parametrize("within", [True, False])
async def test_a_version_that_was_forgotten_means_a_new_list(within: bool) -> None:
    """Whether the server says so by status or within the watch; what was deleted meanwhile is told."""
    async with followed() as (server, found):
        server.cut()
        server.put("b")
        server.delete("a")
        server.forget()
        if not within:
            server.answers.append(refusal(410, "too old"))
        await found.until_names("b")
        assert found.reflector.counts.lists == 2
        server.put("c")
        await found.until_names("b", "c")
        assert found.reflector.counts.lists == 2


async def test_a_server_that_was_away_is_followed_again() -> None:
    """Also where it has forgotten everything by then."""
    server = ApiServer()
    server.put("a")
    async with server.serving() as address:
        context = following(address)
        found = await context.__aenter__()
        await found.until_names("a")
    server.delete("a")
    server.put("b")
    server.forget()
    with structlog.testing.capture_logs() as logs:
        while found.reflector.counts.failures < 3:  # it asks a server that is not there
            await asyncio.sleep(0.005)
        async with server.serving(int(address.rpartition(":")[2])):
            await found.until_names("b")
            await context.__aexit__(None, None, None)
    interrupted = [each for each in logs if each["event"] == "watch_interrupted" and each["status"] == 0]
    assert len(interrupted) == 1, "said once"
    assert any(each["event"] == "watch_recovered" for each in logs)


async def test_watches_that_end_at_once_do_not_keep_the_server_busy() -> None:
    """Each waits longer than the one before."""
    async with followed() as (server, found):
        server.ends_watches_at_once = True
        server.cut()
        before = len(server.asked)
        await asyncio.sleep(0.1)
        assert 2 < len(server.asked) - before < 100
        server.ends_watches_at_once = False
        server.put("b")
        await found.until_names("a", "b")


@pytest.mark.parametrize(
    "answer",
    [
        refusal(429, "storage is (re)initializing", retry_after="0"),
        refusal(500),
        refusal(401, "Unauthorized"),
        web.Response(text="<html>", status=200),
        web.Response(text='{"metadata": {', status=200),
    ],
)
async def test_a_refusal_is_asked_again(answer: web.Response) -> None:
    """And an answer that cannot be understood."""
    server = ApiServer()
    server.put("a")
    server.answers.append(answer)
    async with server.serving() as address, following(address) as found:
        await found.until_names("a")
        assert found.reflector.counts.failures == 1


async def test_a_line_that_cannot_be_understood_breaks_the_watch() -> None:
    """What came with it before counts."""
    async with followed() as (server, found):
        server.put("b")
        server.say({"type": "ADDED", "object": {"metadata": 5}})
        await found.until_names("a", "b")
        server.forget()
        server.put("c")
        await found.until_names("a", "b", "c")


@pytest.mark.parametrize(("status", "hint"), [(403, "list and watch on pods"), (404, "igw crds")])
async def test_what_is_missing_is_said_once_with_its_cure(status: int, hint: str) -> None:
    """Who does not need it goes on without."""
    server = ApiServer()
    server.answers.extend(refusal(status, "no") for _ in range(3))
    with structlog.testing.capture_logs() as logs:
        async with server.serving() as address, following(address, needed=False) as found:
            async with asyncio.timeout(10):
                await found.reflector.settled.wait()
                assert not found.reflector.mirror.listed
                server.put("a")
                await found.until_names("a")
    (said,) = [each for each in logs if each["event"] == "watch_interrupted"]
    assert hint in said["hint"]
    assert said["log_level"] == ("warning" if status == 403 else "info")


async def test_a_token_file_is_read_again_when_it_is_refused(tmp_path: Path) -> None:
    """As the kubelet rotates it; the list goes on without a failure."""
    token, server = tmp_path / "token", ApiServer()
    token.write_text("old")
    server.put("a")
    async with server.serving() as address:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"tokenFile": str(token)}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        found = Following()
        async with connection(configuration(tmp_path / "config")) as http, asyncio.TaskGroup() as group:
            reflector = Reflector(http, Selection(PODS, "llm"), pod, found.told, pace=QUICK)
            task = group.create_task(reflector.run())
            await found.until_names("a")
            token.write_text("new")
            server.answers.append(refusal(401, "Unauthorized"))
            server.cut()
            server.put("b")
            await found.until_names("a", "b")
            task.cancel()
    assert server.tokens[0] == "Bearer old"
    assert server.tokens[-1] == "Bearer new"
