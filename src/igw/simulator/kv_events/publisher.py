"""The sockets of KV events: a PUB socket with numbered batches, and a ROUTER socket that sends old ones again.

What is in a batch is made in `messages`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import zmq
import zmq.asyncio

from igw.simulator.engine.events import KvEvent
from igw.simulator.kv_events.config import KvEventsConfig, binds
from igw.simulator.kv_events.messages import BatchEncoder

END_OF_REPLAY = b"\xff" * 8
"""The sequence number that ends a replay: -1 as a signed 64-bit number."""

_SEQUENCE_BYTES = 8


class EventAddressError(OSError):
    """An address that can be neither bound nor connected to."""


class KvPublisher:
    """Publishes what one engine does to its cache; call it with each event.

    The events of one turn of the event loop make one batch, and an engine composes a step in one turn. Numbers start
    at 0. Nothing here waits for a subscriber: a PUB socket drops what one more than `hwm` batches behind would get,
    and the replay socket sends such a subscriber the last `buffer_steps` batches.
    """

    def __init__(
        self, config: KvEventsConfig, encoder: BatchEncoder, wall_clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._encoder = encoder
        self._topic = b""
        self._wall_clock = wall_clock
        self._sequence = 0
        self._sent: deque[tuple[int, bytes]] = deque(maxlen=config.buffer_steps)
        self._pending: list[KvEvent] = []
        self._socket: zmq.Socket[bytes] | None = None
        self.endpoint = config.endpoint
        """The address in use; a wildcard port is replaced by the real one as soon as it is bound."""
        self.replay_endpoint = config.replay_endpoint

    def __call__(self, event: KvEvent) -> None:
        """Take note of an event; it leaves with the other events of this turn."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.append(event)

    def succeed(self, earlier: KvPublisher) -> None:
        """Take over the addresses of the publisher before a restart, so that subscribers find this one."""
        self.endpoint, self.replay_endpoint = earlier.endpoint, earlier.replay_endpoint

    @asynccontextmanager
    async def running(self, topic: str = "") -> AsyncIterator[None]:
        """Publish under *topic* and replay while the context is open; EventAddressError for a bad address."""
        self._topic = topic.encode()
        with _context(self.endpoint) as context, context.socket(zmq.PUB) as socket:
            socket.linger = 0
            socket.set_hwm(self._config.hwm)
            self.endpoint = _open(socket, self.endpoint, bind=binds(self._config.endpoint))
            self._socket = socket
            try:
                async with self._replaying(context):
                    yield
                    self._flush()
            finally:
                self._socket = None

    @asynccontextmanager
    async def _replaying(self, context: zmq.Context[zmq.Socket[bytes]]) -> AsyncIterator[None]:
        if self.replay_endpoint is None:
            yield
            return
        with zmq.asyncio.Context(context).socket(zmq.ROUTER) as router:
            router.linger = 0
            # Room for one whole replay per client; a ROUTER socket drops what comes on top.
            router.set_hwm(self._config.buffer_steps + 1)
            self.replay_endpoint = _open(router, self.replay_endpoint, bind=True)
            task = asyncio.create_task(self._replay(router))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

    async def _replay(self, router: zmq.asyncio.Socket) -> None:
        while True:
            request = await router.recv_multipart()
            if len(request) != 3 or len(request[2]) != _SEQUENCE_BYTES:
                structlog.get_logger("kv_events").warning(
                    "a replay request must be an empty frame and an 8-byte number", frames=len(request)
                )
                continue
            client, _, start = request
            first = int.from_bytes(start)
            for number, payload in list(self._sent):
                if number >= first:
                    await self._answer(router, client, number.to_bytes(_SEQUENCE_BYTES), payload)
            await self._answer(router, client, END_OF_REPLAY, b"")

    async def _answer(self, router: zmq.asyncio.Socket, client: bytes, number: bytes, payload: bytes) -> None:
        frames = [client, b"", number, payload]
        # SGLang and vLLM up to 0.25 do not repeat the topic; later vLLM does, but not with the end marker.
        if self._config.encoding == "map":
            frames.insert(2, self._topic if payload else b"")
        await router.send_multipart(frames)

    def _flush(self) -> None:
        if self._socket is None or not self._pending:
            return
        events, self._pending = self._pending, []
        payload = self._encoder.encode(events, self._wall_clock())
        number, self._sequence = self._sequence, self._sequence + 1
        self._sent.append((number, payload))
        self._socket.send_multipart([self._topic, number.to_bytes(_SEQUENCE_BYTES), payload], zmq.NOBLOCK)


@contextmanager
def _context(endpoint: str) -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Yield a context of its own, at whose end addresses are free again; for inproc the one this process shares."""
    if endpoint.startswith("inproc://"):
        yield zmq.Context.instance()
        return
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield context
    finally:
        context.term()


def _open(socket: zmq.Socket[bytes] | zmq.asyncio.Socket, endpoint: str, *, bind: bool) -> str:
    """Bind or connect; return the address in use."""
    try:
        if not bind:
            socket.connect(endpoint)
            return endpoint
        socket.bind(endpoint)
        return socket.get_string(zmq.LAST_ENDPOINT)
    except zmq.ZMQError as error:
        raise EventAddressError(f"KV events cannot use {endpoint}: {error.strerror}") from error
