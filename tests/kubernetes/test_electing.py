"""A replica asks for the Lease, keeps it while it runs, and gives it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import structlog

from igw.kubernetes.electing import Elector
from igw.kubernetes.leases import Election, Timing

PATH = "/apis/coordination.k8s.io/v1/namespaces/llm/leases"


class Apiserver:
    """Has one Lease, or none."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.fails = 0
        """The HTTP status that everything gets; 0: none."""
        self.news = asyncio.Event()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.method)
        self.news.set()
        if self.fails:
            return httpx2.Response(self.fails, json={"code": self.fails, "message": "no"})
        if request.method == "GET":
            return httpx2.Response(200, json=self.lease) if self.lease else httpx2.Response(404, json={})
        assert request.url.path == (PATH if request.method == "POST" else f"{PATH}/igw")
        said = msgspec.json.decode(request.content)
        version = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if said["metadata"].get("resourceVersion") != version:
            return httpx2.Response(409, json={"code": 409, "message": "changed"})
        said["metadata"]["resourceVersion"] = str(int(version or 0) + 1)
        self.lease = said
        return httpx2.Response(200, json=said)

    async def until(self, count: int) -> None:
        """Return when there were so many requests more."""
        wanted = len(self.asked) + count
        async with asyncio.timeout(10):
            while len(self.asked) < wanted:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def running(server: Apiserver, turns: list[bool]) -> AsyncIterator[Elector]:
    """Take part in the election; *turns* gets who leads, whenever that changes."""
    election = Election("me", lambda: 0.0, Timing(15.0, 10.0, 0.002))
    async with httpx2.AsyncClient(base_url="http://api", transport=httpx2.MockTransport(server)) as http:
        elector = Elector(http, "igw", "llm", election, lambda: turns.append(elector.leads()))
        task = asyncio.create_task(elector.run())
        try:
            yield elector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_is_made_kept_and_given_back() -> None:
    """Read once; renewed without being read."""
    server, turns = Apiserver(), list[bool]()
    async with running(server, turns) as elector:
        await server.until(6)
        assert server.asked[:6] == ["GET", "POST", "PUT", "PUT", "PUT", "PUT"]
        assert elector.leads()
        assert server.lease is not None
        assert server.lease["spec"]["holderIdentity"] == "me"
        assert server.lease["spec"]["leaseDurationSeconds"] == 15
    assert server.lease["spec"]["holderIdentity"] == ""
    assert turns == [True, False]


async def test_a_lease_of_another_is_watched_and_not_touched() -> None:
    """What is not ours is not given back either."""
    server, turns = Apiserver(), list[bool]()
    spec = {"holderIdentity": "other", "leaseDurationSeconds": 15}
    server.lease = {"metadata": {"resourceVersion": "4"}, "spec": spec}
    async with running(server, turns):
        await server.until(4)
    assert set(server.asked) == {"GET"}
    assert turns == []


async def test_trouble_is_said_once_and_tried_again() -> None:
    """A conflict is none."""
    server = Apiserver()
    server.fails = 500
    with structlog.testing.capture_logs() as logs:
        async with running(server, []) as elector:
            await server.until(4)
            server.fails = 409
            await server.until(4)
            server.fails = 0
            await server.until(4)
            assert elector.leads()
    assert [each["event"] for each in logs] == ["lease_not_held", "leading", "not_leading"]


async def test_what_cannot_be_given_back_ends_by_itself() -> None:
    """Nobody waits for it."""
    server = Apiserver()
    with structlog.testing.capture_logs() as logs:
        async with running(server, []):
            await server.until(3)
            server.fails = 503
    assert [each["event"] for each in logs][-1] == "lease_not_released"
