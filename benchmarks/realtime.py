"""`igw sim` in real time: 200 streams at 50 tokens/s each from one server process, read by this process.

The hardware is slowed until a step of 200 sequences takes 20 ms in the model. Errors are those of what a client sees against
that model: of the time over all tokens, and of every single gap between two tokens of a stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from itertools import pairwise
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from igw.simulator.hardware.calibration import StepTime
from igw.simulator.text import render_chat, tokenize

STREAMS = 200
TOKENS_PER_SECOND = 50.0
_TOKENS = 600
_BEFORE, _MEASURED = (
    50,
    400,
)  # tokens that every stream has had when measuring begins, and that it gets from then on
_MESSAGES = [{"role": "user", "content": " ".join(["word"] * 64)}]
_IGW = Path(sys.executable).with_name("igw")
_TICKS = os.sysconf("SC_CLK_TCK")


class Stream(asyncio.Protocol):
    """One streamed chat: when each token came, and nothing else of the answer."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.under_way = asyncio.Event()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        chat = {"model": "m", "messages": _MESSAGES, "max_tokens": _TOKENS, "stream": True}
        body = json.dumps(chat).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        """Note the time of every token in it."""
        now = time.perf_counter()
        # The chunk of the role comes with the first token.
        tokens = data.count(b'"content":"') - data.count(b'"role":"assistant"')
        self.times += [now] * tokens
        if len(self.times) >= _BEFORE:
            self.under_way.set()
        if b"[DONE]" in data and not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Say so if the answer was not complete."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))


def model_gaps(step_time: StepTime, generated: float) -> list[float]:
    """Return how long the steps that are measured take in the model, in seconds.

    `generated` is how many tokens the streams have had at first, on average.
    """
    known = STREAMS * (len(tokenize(render_chat(_MESSAGES, None))) + generated)
    return [step_time.seconds((), STREAMS, round(known) + STREAMS * step, 0) for step in range(_MEASURED)]


def cpu_seconds(process: int) -> float:
    """Return what a process and its threads have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def run() -> list[dict[str, Any]]:
    """Start a server, stream, compare."""
    step_time = StepTime.load()
    speed = fmean(model_gaps(step_time, 3 * _BEFORE)) * TOKENS_PER_SECOND  # joining takes a while
    server = await asyncio.create_subprocess_exec(
        _IGW, "sim", "--model", "m", "--speed", repr(speed), stdout=PIPE
    )
    assert server.stdout is not None
    try:
        port = int(json.loads(await server.stdout.readline())["endpoints"][0]["port"])
        return [await _measure(server.pid, port, step_time, speed)]
    finally:
        server.terminate()
        await server.wait()


async def _measure(server: int, port: int, step_time: StepTime, speed: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []
    for _ in range(STREAMS):
        _, stream = await loop.create_connection(Stream, "127.0.0.1", port)
        streams.append(stream)
    for each in streams:
        await each.under_way.wait()
    used, began = cpu_seconds(server), time.perf_counter()
    # Everybody gets a token in every step, so from here on all windows are over the same steps.
    starts = [len(each.times) - 1 for each in streams]
    await asyncio.wait([each.done for each in streams], return_when=asyncio.FIRST_COMPLETED)
    cores = (cpu_seconds(server) - used) / (time.perf_counter() - began)
    await asyncio.gather(*(each.done for each in streams))
    if max(starts) + _MEASURED >= _TOKENS:
        raise RuntimeError("the streams began too far apart: this machine is too busy to measure")
    windows = [each.times[start : start + _MEASURED + 1] for each, start in zip(streams, starts, strict=True)]
    model = [gap / speed for gap in model_gaps(step_time, fmean(starts) + 1)]
    spans = [window[-1] - window[0] for window in windows]
    errors = [
        abs(later - earlier - wanted) / wanted
        for window in windows
        for (earlier, later), wanted in zip(pairwise(window), model, strict=True)
    ]
    return {
        "streams": STREAMS,
        "tok/s": _MEASURED / fmean(spans),
        "slowest": _MEASURED / max(spans),
        "cores": cores,
        "step_err_%": abs(fmean(spans) / sum(model) - 1) * 100,
        "gap_err_%": fmean(errors) * 100,
        "gap_p99_%": quantiles(errors, n=100)[98] * 100,
    }
