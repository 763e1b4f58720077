"""The line between a client and the API server, which a test may cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.kube.cluster import Cluster


class Line:
    """Passes on bytes as they are, TLS and all."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ends: set[asyncio.StreamWriter] = set()
        self.url = ""
        """Where the API server is reached by it."""
        self.whole = True
        """Whether new connections are passed on."""

    def cut(self) -> None:
        """End all connections, in the middle of whatever they carry."""
        for end in self._ends:
            end.transport.abort()

    def kubeconfig(self, account: Path) -> Path:
        """Return *account* as it has to be to use this line."""
        path = account.with_suffix(".line.yaml")
        path.write_text(account.read_text().replace(self._cluster.url, self.url))
        return path

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        if not self.whole:
            writer.transport.abort()
            return
        host, _, port = self._cluster.url.removeprefix("https://").partition(":")
        back, forth = await asyncio.open_connection(host, int(port))
        ends = {writer, forth}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass(reader, forth))
                both.create_task(_pass(back, writer))
        finally:
            self._ends -= ends


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def line(cluster: Cluster) -> AsyncIterator[Line]:
    """Give a line to *cluster* within the block."""
    made = Line(cluster)
    server = await asyncio.start_server(made.join, "127.0.0.1", 0)
    made.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
        made.whole = False
        made.cut()
