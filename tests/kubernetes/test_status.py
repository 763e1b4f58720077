"""Status is written when there is something to write, no faster than it should be, and one refusal is one object's."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest
import structlog

from igw.kubernetes.conditions import READY, Claim, Condition
from igw.kubernetes.events import Events
from igw.kubernetes.kinds import OBJECTIVES, REWRITES, Kind
from igw.kubernetes.objects import Failure
from igw.kubernetes.status import Rate, Turns, Writer

RATE = Rate()
FAST = Rate(between=0.0, object=0.001, words=0.002, longest=0.02)
WELL = Condition(READY, "True", "Ready", "yes")
ILL = Condition(READY, "False", "Refused", "no")


def claim(name: str = "o", said: Condition = WELL, kind: Kind = OBJECTIVES[0], **changes: Any) -> Claim:
    """Return what is said of an object that nobody has said anything of."""
    made = Claim(kind, f"llm/{name}", f"uid-{name}", 1, "1", None, (said,))
    return msgspec.structs.replace(made, **changes)


class Apiserver:
    """Keeps statuses and Events by path; *refuse* may say no."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.statuses: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuse: Callable[[httpx2.Request], httpx2.Response | None] = lambda _: None
        self.news = asyncio.Event()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.asked.append((request.method, path))
        self.news.set()
        if (refused := self.refuse(request)) is not None:
            return refused
        change = msgspec.json.decode(request.content)
        if path.endswith("/status"):
            if change["metadata"]["resourceVersion"] != str(self.versions.get(path, 1)):
                return refusal(409)
            assert request.headers["content-type"] == "application/merge-patch+json"
            self.versions[path] = self.versions.get(path, 1) + 1
            self.statuses[path] = change["status"]
        return httpx2.Response(200, json=change)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return when *reached* is true; it is looked at after each request."""
        async with asyncio.timeout(10):
            while not reached():
                self.news.clear()
                await self.news.wait()

    def now(self, said: Claim) -> Claim:
        """Return *said* with the status that there is."""
        path = f"{said.kind.path('llm')}/{said.name}/status"
        version = str(self.versions.get(path, 1))
        return msgspec.structs.replace(said, status=self.statuses.get(path), version=version)


def refusal(status: int, message: str = "no") -> httpx2.Response:
    """Return what an API server says that refuses."""
    return httpx2.Response(status, json={"kind": "Status", "code": status, "message": message})


class Setting:
    """A writer, what it is to say, and the server."""

    def __init__(self, claims: list[Claim]) -> None:
        self.server = Apiserver()
        self.claims = claims
        self.leads = True
        self.writer: Writer

    def say(self) -> list[Claim]:
        return [self.server.now(each) for each in self.claims]

    def patched(self) -> list[str]:
        return [path.split("/")[-2] for method, path in self.server.asked if path.endswith("/status")]


@asynccontextmanager
async def writing(*claims: Claim, rate: Rate = FAST) -> AsyncIterator[Setting]:
    """Write *claims*."""
    setting = Setting(list(claims))
    async with httpx2.AsyncClient(
        base_url="http://api", transport=httpx2.MockTransport(setting.server)
    ) as http:
        writer = Writer(http, setting.say, lambda: setting.leads, Events("me"), rate)
        setting.writer = writer
        task = asyncio.create_task(writer.run())
        try:
            yield setting
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def rounds(setting: Setting, count: int = 5) -> None:
    """Have the writer look again, several times."""
    for _ in range(count):
        setting.writer.changed.set()
        await asyncio.sleep(0.005)


async def test_each_object_is_written_once() -> None:
    """However often it is looked at; a change is written once more."""
    async with writing(claim("a"), claim("b"), claim("c", kind=REWRITES[0])) as setting:
        await setting.server.until(lambda: len(setting.patched()) == 3)
        await rounds(setting)
        assert sorted(setting.patched()) == ["a", "b", "c"]
        setting.claims[0] = claim("a", ILL)
        setting.writer.changed.set()
        await setting.server.until(lambda: len(setting.patched()) == 4)
        await rounds(setting)
        assert setting.patched()[3:] == ["a"]
        assert setting.writer.counts.written["inferenceobjectives.llm-d.ai"] == 3


async def test_who_does_not_lead_writes_nothing() -> None:
    """Until it does."""
    async with writing(claim()) as setting:
        setting.leads = False
        await rounds(setting)
        before = len(setting.server.asked)
        setting.claims[0] = claim("other")
        await rounds(setting)
        assert len(setting.server.asked) == before
        setting.leads = True
        setting.writer.changed.set()
        await setting.server.until(lambda: "other" in setting.patched())


@pytest.mark.parametrize("status", [403, 404, 422, 500, 503])
async def test_one_object_that_is_refused_does_not_keep_others(status: int) -> None:
    """It is tried again at growing intervals, and said once."""

    def refuse(request: httpx2.Request) -> httpx2.Response | None:
        return refusal(status) if "/bad/" in request.url.path else None

    with structlog.testing.capture_logs() as logs:
        async with writing(claim("bad"), claim("good")) as setting:
            setting.server.refuse = refuse
            await setting.server.until(lambda: setting.patched().count("bad") >= 4)
            assert setting.patched().count("good") == 1
            setting.server.refuse = lambda _: None
            await setting.server.until(
                lambda: bool(setting.server.statuses.get(f"{OBJECTIVES[0].path('llm')}/bad/status"))
            )
            assert setting.writer.counts.refused["inferenceobjectives.llm-d.ai"] >= 4
    said = [each for each in logs if each["event"] == "status_not_written"]
    assert len(said) == (0 if status == 404 else 1)
    if status == 403:
        assert "the verb patch on inferenceobjectives/status" in said[0]["hint"]


async def test_a_server_that_does_not_answer_is_asked_again() -> None:
    """Nothing ends the writer."""

    def refuse(request: httpx2.Request) -> httpx2.Response | None:
        raise httpx2.ConnectError("refused", request=request)

    async with writing(claim()) as setting:
        setting.server.refuse = refuse
        await setting.server.until(lambda: len(setting.patched()) >= 3)
        setting.server.refuse = lambda _: None
        await setting.server.until(lambda: bool(setting.server.statuses))


async def test_a_conflict_is_written_again_on_what_there_is() -> None:
    """What the other has written is not lost, because the write is for a version."""
    async with writing() as setting:
        path = f"{OBJECTIVES[0].path('llm')}/o/status"
        stale = [claim()]
        setting.server.versions[path] = 5
        setting.say = lambda: stale if setting.server.asked == [] else [setting.server.now(claim())]  # type: ignore[method-assign]
        setting.writer._claims = setting.say
        setting.writer.changed.set()
        await setting.server.until(lambda: path in setting.server.statuses)
        assert len(setting.patched()) == 2


async def test_what_is_wrong_is_told_as_an_event_once() -> None:
    """Not that it is well; not that a count in the message is another."""
    async with writing(claim("a"), claim("b", ILL)) as setting:
        await setting.server.until(lambda: any("events" in path for _, path in setting.server.asked))
        setting.claims[1] = claim("b", Condition(READY, "False", "Refused", "no, 2 of them"))
        setting.writer.changed.set()
        await setting.server.until(lambda: setting.patched().count("b") == 2)
        await rounds(setting)
        told = [path for method, path in setting.server.asked if "events" in path]
        assert told == ["/apis/events.k8s.io/v1/namespaces/llm/events"]


async def test_an_event_that_is_refused_does_not_keep_the_status() -> None:
    """It is said once."""

    def refuse(request: httpx2.Request) -> httpx2.Response | None:
        return refusal(403) if "events" in request.url.path else None

    with structlog.testing.capture_logs() as logs:
        async with writing() as setting:
            setting.server.refuse = refuse
            setting.claims += [claim("a", ILL), claim("b", ILL)]
            setting.writer.changed.set()
            await setting.server.until(lambda: len(setting.server.asked) == 4)
            await rounds(setting)
            assert sorted(setting.patched()) == ["a", "b"]
    (said,) = [each for each in logs if each["event"] == "event_not_written"]
    assert "verbs create and patch on events" in said["hint"]


async def test_objects_that_are_gone_are_forgotten() -> None:
    """Nothing grows with what has been."""
    async with writing(claim("a")) as setting:
        await setting.server.until(lambda: bool(setting.patched()))
        setting.claims.clear()
        await rounds(setting)
        assert setting.writer._turns == {}


def turns() -> Turns:
    """Return the turns of one object, without chance."""
    return Turns(RATE, lambda: 0.5)


def test_an_object_is_not_written_twice_in_a_second() -> None:
    """Nor twice in ten if only words changed; and not before we have heard of our own write."""
    one = turns()
    assert one.wait_seconds(claim(), 0.0) == 0.0
    one.done(claim(), 0.0)
    assert one.wait_seconds(claim(), 100.0) == math.inf
    counted = claim(said=Condition(READY, "True", "Ready", "another count"))
    now = msgspec.structs.replace(counted, status=claim().written("now"), version="2")
    assert one.wait_seconds(now, 0.25) == 9.75
    changed = msgspec.structs.replace(now, conditions=(ILL,))
    assert one.wait_seconds(changed, 0.25) == 0.75
    assert one.wait_seconds(changed, 1.0) == 0.0


def test_who_undoes_a_write_is_given_way_to() -> None:
    """Up to five minutes; an edit, or what we say otherwise, is no such thing."""
    one, waits = turns(), []
    now = 0.0
    for version in range(12):
        bare = claim(version=str(version))
        one.done(bare, now)
        waits.append(one.wait_seconds(claim(version=str(version + 1)), now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]
    one.done(claim(generation=2, version="90"), now)
    assert one.wait_seconds(claim(version="91"), now) == 1.0


def test_waits_after_failures_grow() -> None:
    """A conflict is over sooner; what the server asks for counts."""
    one = turns()
    waits = []
    for _ in range(10):
        one.failed(Failure(500, "no"), 0.0)
        waits.append(one.wait_seconds(claim(), 0.0))
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert waits[-1] == 300.0
    other = turns()
    other.failed(Failure(409, "changed"), 0.0)
    assert other.wait_seconds(claim(), 0.0) == 0.2
    other.failed(Failure(429, "busy", 30.0), 0.0)
    assert other.wait_seconds(claim(), 0.0) == 30.0
