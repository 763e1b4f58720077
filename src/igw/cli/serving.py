"""What commands that serve have in common: the ready line, and serving until somebody asks them to stop. What is served is theirs."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec


def stop_asked() -> asyncio.Event:
    """Return what SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def say_ready(**what: Any) -> None:
    """Print the one line of JSON by which who started us knows that we serve, and where."""
    print(json.dumps({"ready": True, **what}), flush=True)


async def serve(running: Callable[[], AbstractAsyncContextManager[msgspec.Struct]]) -> None:
    """Be in what *running* makes inside the loop, which yields its addresses, until it is asked to stop."""
    stop = stop_asked()
    async with running() as addresses:
        say_ready(**{name: where for name, where in msgspec.structs.asdict(addresses).items() if where})
        await stop.wait()
