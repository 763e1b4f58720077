"""Waiting for a ZeroMQ socket on the event loop. Reading it is up to the caller, who thus pays for a message and not for a future of each."""

from __future__ import annotations

import asyncio

import zmq


async def readable(socket: zmq.Socket[bytes]) -> None:
    """Return when *socket* has a message.

    Its descriptor tells of changes, not of messages: only asking for its events says what is there, and makes it tell again.
    """
    loop = asyncio.get_running_loop()
    while not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
        changed = loop.create_future()
        loop.add_reader(socket.fileno(), _set, changed)
        try:
            await changed
        finally:
            loop.remove_reader(socket.fileno())


def _set(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)
