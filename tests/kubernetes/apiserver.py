"""An API server of one kind in one namespace, over HTTP: lists in pages, watches, and whatever can go wrong with either."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class ApiServer:
    """Objects, and the requests that came. Tests set what goes wrong."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 10
        self.oldest = 0
        self.asked: list[dict[str, str]] = []
        """The parameters of every request."""
        self.tokens: list[str] = []
        """What every request showed as its bearer token."""
        self.answers: deque[web.Response] = deque()
        """Given to the next requests instead of what they ask for."""
        self.ends_watches_at_once = False
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._news = asyncio.Event()
        self._transports: set[asyncio.BaseTransport] = set()

    def put(self, name: str, **meta: Any) -> None:
        """Create or change an object."""
        self._tell("MODIFIED" if name in self.objects else "ADDED", name, meta)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._tell("DELETED", name, {})

    def _tell(self, what: str, name: str, meta: dict[str, Any]) -> None:
        self.version += 1
        self.objects[name] = {
            "metadata": {"name": name, "namespace": "llm", "resourceVersion": str(self.version), **meta},
            "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        self.say({"type": what, "object": self.objects[name]})
        if what == "DELETED":
            del self.objects[name]

    def say(self, event: dict[str, Any]) -> None:
        """Send any event to the watches there are, and to those that ask for what happened from before it."""
        self._events.append((self.version, event))
        self._news.set()
        self._news = asyncio.Event()

    def forget(self) -> None:
        """Forget all that happened, as etcd does after some minutes."""
        self.oldest = self.version

    def cut(self) -> None:
        """Break every watch."""
        for transport in self._transports:
            transport.abort()  # type: ignore[attr-defined]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a list or a watch."""
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("authorization", ""))
        if self.answers:
            return self.answers.popleft()
        if "watch" in request.query:
            return await self._watch(request)
        names = sorted(self.objects)
        begin = int(request.query.get("continue", "0"))
        end = begin + int(request.query.get("limit", "0")) or len(names)
        token = str(end) if end < len(names) else ""
        meta = {"resourceVersion": str(self.version), "continue": token}
        return web.json_response(
            {"metadata": meta, "items": [self.objects[name] for name in names[begin:end]]}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self.oldest:
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            await stream.write(json.dumps(gone).encode() + b"\n")
            return stream
        assert request.transport is not None
        self._transports.add(request.transport)
        sent = sum(1 for version, _ in self._events if version <= since)
        try:
            while not self.ends_watches_at_once:
                news = self._news
                for _, event in self._events[sent:]:
                    await stream.write(json.dumps(event).encode() + b"\n")
                sent = len(self._events)
                await news.wait()
        finally:
            self._transports.discard(request.transport)
        return stream

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve within the block; give the address."""
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/llm/pods", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.cut()
            await runner.cleanup()


def refusal(code: int, message: str = "no", **headers: str) -> web.Response:
    """Return what an API server says that refuses."""
    body = {"kind": "Status", "code": code, "message": message}
    return web.json_response(
        body, status=code, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
