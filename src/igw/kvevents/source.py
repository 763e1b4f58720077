"""One publisher: its messages are put in order, what is missing is asked for again, and the index is told. Sockets of events are in `listening`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog
import zmq

from igw.kvevents.numbering import Numbering, Step
from igw.kvevents.waiting import readable
from igw.prefix.events import Batch, decode
from igw.prefix.exact import ExactIndex

log = structlog.get_logger("kvevents")

_NUMBER_BYTES = 8
_END = b"\xff" * _NUMBER_BYTES
_IDLE_SECONDS = 2.0
_COOL_SECONDS = 30.0
_AT_ONCE = 64

Open = Callable[[int, str], "zmq.Socket[bytes]"]
"""Makes a socket of a type, connected to an address."""


class SourceStatistics(msgspec.Struct, frozen=True):
    """What was heard of one engine since we follow it."""

    messages: int = 0
    events: int = 0
    unreadable: int = 0
    """Messages and events of no known form."""
    replays: int = 0
    gaps: int = 0
    """Times at which messages were lost for good, so that all that was known of it was forgotten."""
    restarts: int = 0
    whole: bool = False
    """Whether everything since the engine's start is known."""


class Source:
    """What one engine publishes. Writer of its slot of the index."""

    def __init__(self, hostport: str, replay: str, index: ExactIndex, open_socket: Open) -> None:
        self.hostport = hostport
        self.topic: bytes | None = None
        """The last one that was looked at, by whoever listens, and whether it was another endpoint's."""
        self.stranger = False
        self._replay_address = replay
        self._index = index
        self._slot = index.slot(hostport)
        self._open = open_socket
        self._numbering = Numbering()
        self._no_replay_before = 0.0
        self._messages = self._events = self._unreadable = self._replays = self._gaps = self._restarts = 0

    def statistics(self) -> SourceStatistics:
        """Return what was heard."""
        return SourceStatistics(
            self._messages,
            self._events,
            self._unreadable,
            self._replays,
            self._gaps,
            self._restarts,
            self._numbering.whole,
        )

    async def take(self, frames: list[bytes]) -> None:
        """Take note of one message: topic, number, payload."""
        self._messages += 1
        batch = self._read(frames[-1])
        if batch is None or not _numbered(frames):
            self._unreadable += 1
            return
        number = int.from_bytes(frames[-2])
        step = self._numbering.step(number, batch.timestamp)
        if step is Step.RESTARTED:
            self._restart()
            step = self._numbering.step(number, batch.timestamp)
        if step is Step.MISSING and await self._replayed():
            step = self._numbering.step(number, batch.timestamp)
        if step is Step.MISSING:
            self._lost(number)
        if step is not Step.SKIP:
            self._apply(number, batch)

    def _read(self, payload: bytes) -> Batch | None:
        try:
            return decode(payload)
        except ValueError as error:
            if not self._unreadable:
                log.warning("kv_events_unreadable", endpoint=self.hostport, error=str(error))
            return None

    def _apply(self, number: int, batch: Batch) -> None:
        self._index.apply(self._slot, batch.events)
        self._events += len(batch.events)
        self._unreadable += batch.unreadable
        self._numbering.taken(number, batch.timestamp)
        self._index.note_whole(self._slot, whole=self._numbering.whole)

    def _restart(self) -> None:
        self._restarts += 1
        log.info("kv_events_restarted", endpoint=self.hostport)
        self._index.clear(self._slot)
        self._numbering.restarted()

    def _lost(self, number: int) -> None:
        """Forget what is known: blocks may be gone without our knowing. The first message we ever get costs nothing."""
        expected = self._numbering.next
        if expected is None:
            log.info("kv_events_joined_late", endpoint=self.hostport, number=number)
            return
        self._gaps += 1
        log.warning("kv_events_lost", endpoint=self.hostport, expected=expected, number=number)
        self._index.clear(self._slot)

    async def _replayed(self) -> bool:
        """Ask for what is missing and take it; return whether the engine answered."""
        loop = asyncio.get_running_loop()
        if not self._replay_address or loop.time() < self._no_replay_before:
            return False
        self._replays += 1
        try:
            again = await self._replay()
            if again:
                await self._replay()
        except (TimeoutError, zmq.ZMQError) as error:
            self._no_replay_before = loop.time() + _COOL_SECONDS
            log.warning("kv_events_replay_failed", endpoint=self.hostport, error=str(error) or "no answer")
            return False
        self._numbering.replayed()
        return True

    async def _replay(self) -> bool:
        """Take one replay; return whether it showed that the engine restarted, so that it must be asked for all."""
        loop = asyncio.get_running_loop()
        with self._open(zmq.DEALER, self._replay_address) as socket:
            socket.send_multipart([b"", self._numbering.replay_from.to_bytes(_NUMBER_BYTES)])
            async with asyncio.timeout(_IDLE_SECONDS) as limit:
                while True:
                    await readable(socket)
                    limit.reschedule(loop.time() + _IDLE_SECONDS)
                    for _ in range(_AT_ONCE):
                        try:
                            frames = socket.recv_multipart(zmq.NOBLOCK)
                        except zmq.Again:
                            break
                        if _END in frames[-2:-1] or not frames[-1]:
                            return False
                        if not _numbered(frames):
                            self._unreadable += 1
                        elif self._take_again(int.from_bytes(frames[-2]), frames[-1]):
                            return True
                    await asyncio.sleep(0)  # others' turn

    def _take_again(self, number: int, payload: bytes) -> bool:
        """Take one message of a replay; return whether it shows that the engine restarted."""
        batch = self._read(payload)
        if batch is None:
            self._unreadable += 1
            return False
        if self._numbering.another_run(number, batch.timestamp):
            self._restart()
            return True
        expected = self._numbering.next
        if expected is not None and number < expected:
            return False
        if number > (expected or 0):
            self._lost(number)  # older ones are not kept any more
        self._apply(number, batch)
        return False


def _numbered(frames: list[bytes]) -> bool:
    """Return whether a message has a number before its payload; the largest one means the end of a replay."""
    return len(frames) > 1 and len(frames[-2]) == _NUMBER_BYTES and frames[-2] != _END
