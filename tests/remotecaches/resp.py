"""A server that speaks enough of Redis' protocol (RESP 2) for an index: hashes in memory, and a command log. No real one is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RespServer:
    """Hashes by key; `stalled` answers nothing until it is set."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.commands: list[tuple[bytes, ...]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = False
        self.port = 0

    def add(self, key: int | str, *fields: str) -> None:
        """Enter holders of a block."""
        held = self.hashes.setdefault(str(key).encode(), {})
        held |= {field.encode(): b"" for field in fields}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        try:
            while line := await reader.readline():
                count = int(line[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                self.commands.append(tuple(words))
                await self.answers.wait()
                writer.write(self._answer(words))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, words: list[bytes]) -> bytes:
        name = words[0].upper()
        if name == b"HKEYS":
            if self.fails:
                return b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
            fields = list(self.hashes.get(words[1], {}))
            return b"*%d\r\n" % len(fields) + b"".join(
                b"$%d\r\n%s\r\n" % (len(each), each) for each in fields
            )
        return b"+PONG\r\n" if name == b"PING" else b"+OK\r\n"


@asynccontextmanager
async def resp_server() -> AsyncIterator[RespServer]:
    """Listen while the context is open."""
    state = RespServer()
    server = await asyncio.start_server(state.talk, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        state.answers.set()
        server.close()
