"""Plain requests to the API server of a test, as its administrator: for what kubectl would be too slow, and answers as they came."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.kube.cluster import Cluster

MERGE = {"Content-Type": "application/merge-patch+json"}


class Denied(AssertionError):
    """The API server answered with an error. A test that expects it looks at the message; in others it fails the test."""


class Api:
    """Sends requests on kept connections; *most* are under way at once."""

    def __init__(self, cluster: Cluster, most: int = 16) -> None:
        context = ssl.create_default_context(cafile=cluster.authority)
        self._session = aiohttp.ClientSession(
            cluster.url,
            headers={"Authorization": f"Bearer {cluster.token}"},
            connector=aiohttp.TCPConnector(ssl=context, limit=most),
        )

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what the API server answers.

        Raises:
            Denied: it was an error; with its words.
        """
        async with self._session.request(method, path, json=body, headers=headers) as answer:
            said = await answer.json()
            if not answer.ok:
                raise Denied(f"{method} {path}: {said.get('message')}")
            return said

    async def watch(self, path: str) -> AsyncIterator[Any]:
        """Yield what becomes of the objects at *path*: first those that are there."""
        forever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(path, params={"watch": "1"}, timeout=forever) as answer:
            async for line in answer.content:
                yield json.loads(line)

    async def patch(self, path: str, change: Mapping[str, Any]) -> Any:
        """Merge *change* into the object at *path* and return what became of it."""
        return await self.ask("PATCH", path, change, MERGE)
