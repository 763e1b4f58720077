"""A load generator that costs little: HTTP/1.1 over keep-alive connections, a fixed number of requests at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator


class Connection(asyncio.Protocol):
    """One keep-alive connection; `ask()` sends a request and waits for the end of its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._waiter: asyncio.Future[float] | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the other side."""
        if self._first_at == 0.0:
            self._first_at = time.perf_counter()
        self._tail = (self._tail + data)[-65536:] if self._left < 0 else b""
        if self._left < 0 and b"\r\n\r\n" in self._tail:
            head, _, rest = self._tail.partition(b"\r\n\r\n")
            lower = head.lower()
            if not lower.startswith(b"http/1.1 200"):
                self._fail(RuntimeError(self._tail[:300].decode("latin-1")))
                return
            at = lower.find(b"content-length:")
            if at < 0:
                self._chunked, self._left, data = True, 1, rest
            else:
                self._left, data = int(lower[at + 15 :].split(b"\r\n", 1)[0]), rest
        elif self._left < 0:
            return
        if self._chunked:
            self._end = (self._end + data)[-5:]
            done = self._end == b"0\r\n\r\n"
        else:
            self._left -= len(data)
            done = self._left <= 0
        if done and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._first_at)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that waits."""
        self._fail(error or ConnectionError("closed"))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def ask(self, request: bytes) -> tuple[float, float]:
        """Return (seconds to the first byte, seconds to the last)."""
        self._left, self._chunked, self._tail, self._end, self._first_at = -1, False, b"", b"", 0.0
        self._waiter = asyncio.get_running_loop().create_future()
        start = time.perf_counter()
        self._transport.write(request)
        first = await self._waiter
        return first - start, time.perf_counter() - start

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def post(body: bytes) -> bytes:
    """Return a chat request with *body*."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        b"user-agent: bench\r\naccept: */*\r\ncontent-length: %d\r\n\r\n" % len(body)
    ) + body


async def drive(address: str, requests: Iterator[bytes], at_a_time: int) -> list[tuple[float, float]]:
    """Send every one of *requests* to *address*, *at_a_time* at a time; return the times of each."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    times: list[tuple[float, float]] = []

    async def work() -> None:
        _, connection = await loop.create_connection(Connection, host, int(port))
        times.extend([await connection.ask(request) for request in requests])
        connection.close()

    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return times
