"""The sockets of KV events: one to each engine, or one that engines connect to. The order of messages is up to `source`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
import zmq

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.kvevents.settings import Address, EventSettings, addresses, named_by
from igw.kvevents.source import Source, SourceStatistics
from igw.kvevents.waiting import readable
from igw.prefix.events import PORT_LABEL, REPLAY_LABEL
from igw.prefix.exact import ExactIndex

log = structlog.get_logger("kvevents")

_AT_ONCE = 64
"""Messages between two turns of others on the event loop."""
_MOST_QUEUED = 10_000
"""Messages that wait in a socket; beyond that they are dropped, which is a gap that a replay fills."""
_MOST_STRANGERS = 100
_RECONNECT_MILLISECONDS, _RECONNECT_MOST_MILLISECONDS = 100, 5000


class KvEvents:
    """Listens to the engines of all pools for one index. Owner of the sockets; `close` ends it."""

    def __init__(self, settings: EventSettings, index: ExactIndex) -> None:
        self._settings = settings
        self._index = index
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._addresses: dict[str, Address] = {}
        self._sources: dict[str, Source] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._strangers: set[str] = set()
        self.bound = ""
        """The address at which engines may connect to us, a wildcard port replaced."""

    def open(self, group: asyncio.TaskGroup) -> None:
        """Bind, if engines connect to us.

        Raises:
            ConfigError: the address cannot be used.
        """
        if not self._settings.bind or self.bound:
            return
        socket = self._socket(zmq.SUB)
        try:
            curve = self._settings.curve
            if curve is not None:
                socket.curve_server = True
                socket.curve_secretkey = curve.secret.encode()
            socket.subscribe(self._settings.topic)
            socket.bind(self._settings.bind)
        except zmq.ZMQError as error:
            socket.close()
            self._context.term()
            raise ConfigError(
                "kvEventsConfig.zmqEndpoint", f"cannot bind {self._settings.bind}: {error}"
            ) from error
        self.bound = socket.get_string(zmq.LAST_ENDPOINT)
        self._tasks[""] = group.create_task(self._listen(socket, None))

    def follow(self, endpoints: tuple[Endpoint, ...], group: asyncio.TaskGroup) -> None:
        """Listen to exactly these from now on; one whose address changed is listened to anew, and what it said is forgotten."""
        wanted = dict(addresses(self._settings, endpoints))
        for each in endpoints:
            if PORT_LABEL in each.labels and each.hostport not in wanted and each not in self._endpoints:
                log.warning(
                    "kv_events_no_port", endpoint=each.hostport, label=each.labels[PORT_LABEL],
                    hint=f"the label {PORT_LABEL} must be a port, 1 to 65535",
                )  # fmt: skip
        self._endpoints = endpoints
        for hostport in [each for each, where in self._addresses.items() if wanted.get(each) != where]:
            if (task := self._tasks.pop(hostport, None)) is not None:
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
            self._sources.pop(hostport)
            self._index.remove(hostport)
        for hostport, where in wanted.items():
            if hostport not in self._sources:
                source = Source(hostport, where.replay, self._index, self._opened)
                self._sources[hostport] = source
                if not self._settings.bind:
                    self._tasks[hostport] = group.create_task(self._connect(where.events, source))
        self._addresses = wanted

    def statistics(self) -> Mapping[str, SourceStatistics]:
        """Return what was heard of every endpoint, by `ip:port`."""
        return {hostport: source.statistics() for hostport, source in self._sources.items()}

    @property
    def strangers(self) -> tuple[str, ...]:
        """Topics that name no endpoint of ours, the first hundred: who sends them is not heard."""
        return tuple(sorted(self._strangers))

    async def close(self) -> None:
        """Stop listening."""
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        # Each closes its socket, for which the context would wait, and everybody with it.
        await asyncio.gather(*tasks, return_exceptions=True)
        self._context.term()

    async def _connect(self, address: str, source: Source) -> None:
        socket = self._socket(zmq.SUB)
        try:
            self._secure(socket)
            # Everything: the address says who it is, and vLLM's topic is empty unless somebody sets it.
            socket.subscribe("")
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close()
            log.warning("kv_events_unreachable", endpoint=source.hostport, address=address, error=str(error))
            return
        await self._listen(socket, source)

    async def _listen(self, socket: zmq.Socket[bytes], source: Source | None) -> None:
        """Take what comes; without a *source*, topics say whose it is."""
        with socket:
            while True:
                await readable(socket)
                for _ in range(_AT_ONCE):
                    try:
                        frames = socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    whose = self._named(frames[0]) if source is None else self._checked(frames[0], source)
                    if whose is not None:
                        await whose.take(frames)
                await asyncio.sleep(0)  # requests' turn

    def _checked(self, topic: bytes, source: Source) -> Source | None:
        """Return *source*, unless its engine calls itself another endpoint of ours: then its port is the other one's."""
        if source.topic != topic:
            hostport = named_by(topic.decode("utf-8", "replace"), self._endpoints)
            source.topic, source.stranger = topic, hostport not in (None, source.hostport)
            if source.stranger:
                log.warning(
                    "kv_events_of_another", endpoint=source.hostport, topic=topic.decode("utf-8", "replace"),
                    hint=f"this port is that of {hostport}: write the labels {PORT_LABEL} and {REPLAY_LABEL}",
                )  # fmt: skip
        return None if source.stranger else source

    def _named(self, topic: bytes) -> Source | None:
        name = topic.decode("utf-8", "replace")
        hostport = named_by(name, self._endpoints)
        if hostport is None:
            if name not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
                self._strangers.add(name)
                log.warning("kv_events_of_nobody", topic=name, hint="its topic must be kv@<ip:port>@<model>")
            return None
        return self._sources.get(hostport)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.ipv6 = True
        socket.rcvhwm = _MOST_QUEUED
        socket.reconnect_ivl = _RECONNECT_MILLISECONDS
        socket.reconnect_ivl_max = _RECONNECT_MOST_MILLISECONDS
        return socket

    def _opened(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        try:
            self._secure(socket)
            socket.connect(address)
        except zmq.ZMQError:
            socket.close()
            raise
        return socket

    def _secure(self, socket: zmq.Socket[bytes]) -> None:
        curve = self._settings.curve
        if curve is not None:
            socket.curve_publickey = curve.public.encode()
            socket.curve_secretkey = curve.secret.encode()
            socket.curve_serverkey = curve.server.encode()
