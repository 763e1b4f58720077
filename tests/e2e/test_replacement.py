"""A picker is replaced by another, as a rolling update does it, while clients go on. Through the real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from igw.gateway.settings import GatewaySettings, PickerTls
from tests.e2e.harness import Stack, stack

CLIENTS = 4
AFTERWARDS = 50
"""Requests that are sent once the first picker is gone."""


class Service:
    """One address of several pickers, as a Service of Kubernetes is: new connections lead to the last one named, open ones stay."""

    def __init__(self) -> None:
        self.address = ""
        self._target = ""
        self._open: set[asyncio.Task[None]] = set()

    def leads_to(self, target: str) -> str:
        """Let new connections lead to *target*; return where they are made."""
        self._target = target
        return self.address

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Service]:
        """Be there until the block is left."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        async with server:
            yield self
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        host, _, port = self._target.rpartition(":")
        with contextlib.suppress(OSError):
            there, onward = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, onward))
                group.create_task(_pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def keep_asking(running: Stack, go_on: Callable[[], bool]) -> list[int]:
    """Return the statuses of chats, one after another while *go_on*."""
    statuses = []
    while go_on():
        async with running.chat(f"request {len(statuses)}") as response:
            await response.read()
            statuses.append(response.status)
    return statuses


async def upload_slowly(running: Stack, go_on: asyncio.Event) -> int:
    """Return the status of a chat of which the second half is sent when *go_on* is set."""
    body = b'{"model": "llama", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}'

    async def halves() -> AsyncIterator[bytes]:
        yield body[:40]
        await go_on.wait()
        yield body[40:]

    headers = {"content-type": "application/json"}
    async with running.http.post(
        f"{running.url}/v1/chat/completions", data=halves(), headers=headers
    ) as response:
        await response.read()
        return response.status


async def refuses(address: str) -> bool:
    """Return whether nobody listens there any more."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return True
    writer.close()
    return False


async def test_a_rolling_replacement_of_the_picker_loses_no_request(tmp_path: Path) -> None:
    """With TLS and `FailClose`, so that every request needs a picker. One that arrives while the first picker stops is decided by it to the end."""
    async with (
        Service().listening() as service,
        stack(
            tmp_path,
            failure_mode="FailClose",
            picker_flags=("--secure-serving", "--shutdown-delay", "3s", "--drain-timeout", "20s"),
            settings=GatewaySettings(picker_tls=PickerTls()),
            reached_by=service.leads_to,
        ) as running,
    ):
        gone, sent = asyncio.Event(), 0

        def go_on() -> bool:
            nonlocal sent
            sent += gone.is_set()
            return sent <= AFTERWARDS

        asking = [asyncio.create_task(keep_asking(running, go_on)) for _ in range(CLIENTS)]
        closed, closing = asyncio.Event(), running.picker_addresses["grpc"]
        uploading = asyncio.create_task(upload_slowly(running, closed))
        first, running.picker_addresses = running.picker, {}
        await running.start_picker("--secure-serving", "--shutdown-delay", "0")
        service.leads_to(running.picker_addresses["grpc"])
        stopping = asyncio.create_task(first.stop(grace_seconds=25))
        await running.until(lambda: refuses(closing))
        closed.set()
        await stopping
        assert (await first.ended()).status == 0
        gone.set()
        statuses = [status for each in await asyncio.gather(*asking) for status in each]
        assert statuses == [200] * len(statuses)
        assert await uploading == 200
        assert await running.metric("llm_d_epp_request_total") >= AFTERWARDS
        await running.becomes("igw_reservations_open", 0)
