"""Listening over real sockets on loopback: order, gaps, restarts, replays, topics, keys, and the simulator's own publisher."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
import zmq.asyncio

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.kvevents import source as source_module
from igw.kvevents.listening import KvEvents
from igw.kvevents.settings import Curve, EventSettings
from igw.prefix.chain import Prompt, packed
from igw.prefix.events import Event
from igw.prefix.exact import ExactIndex
from igw.simulator.engine.events import Stored
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.kv_events.hashing import TokenSequence
from igw.simulator.kv_events.messages import BatchEncoder
from igw.simulator.kv_events.publisher import KvPublisher

CLEARED = {"type": "AllBlocksCleared"}


class Index(ExactIndex):
    """An index that tells when it was told something."""

    def __init__(self) -> None:
        super().__init__()
        self._told = asyncio.Event()

    def apply(self, slot: int, events: Iterable[Event]) -> None:
        super().apply(slot, events)
        self._told.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Return when something is true after an event."""
        async with asyncio.timeout(10):
            while not true():
                self._told.clear()
                await self._told.wait()

    def held(self, hostport: str, *tokens: int) -> int:
        """Return how many leading tokens of a prompt an endpoint holds."""
        slot = self.slot_of(hostport)
        return int(self.match(self.keys(Prompt(packed(tokens)))).tokens[slot]) if slot is not None else 0


class Engine:
    """A publisher whose messages may be lost on the way: a XPUB socket, so that it knows of its subscriber, and a replay socket."""

    def __init__(self, context: zmq.asyncio.Context, **options: Any) -> None:
        self.publisher, self.replayer = context.socket(zmq.XPUB), context.socket(zmq.ROUTER)
        for socket in (self.publisher, self.replayer):
            socket.linger = 0
            for name, value in options.items():
                setattr(socket, name, value)
            socket.bind("tcp://127.0.0.1:*")
        self.kept: dict[int, bytes] = {}
        self.asked: list[int] = []
        self.clock = itertools.count(1)

    def at(self, port: int = 8000) -> Endpoint:
        """Return the endpoint, with labels that say where this is."""
        ports = [
            socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
            for socket in (self.publisher, self.replayer)
        ]
        names = ("igw.dev/kv-events-port", "igw.dev/kv-events-replay-port")
        return Endpoint.at("127.0.0.1", port, labels=dict(zip(names, ports, strict=True)))

    async def subscribed(self) -> None:
        """Return when somebody listens."""
        async with asyncio.timeout(10):
            assert (await self.publisher.recv()).startswith(b"\x01")

    async def publish(self, number: int, *events: Any, lost: bool = False, kept: bool = True) -> None:
        payload = msgspec.msgpack.encode([float(next(self.clock)), list(events), 0])
        if kept:
            self.kept[number] = payload
        if not lost:
            await self.publisher.send_multipart([b"", number.to_bytes(8), payload])

    async def replay(self) -> None:
        while True:
            client, _, start = await self.replayer.recv_multipart()
            self.asked.append(int.from_bytes(start))
            for number, payload in sorted(self.kept.items()):
                if number >= self.asked[-1]:
                    await self.replayer.send_multipart([client, b"", b"", number.to_bytes(8), payload])
            await self.replayer.send_multipart([client, b"", b"", b"\xff" * 8, b""])

    def close(self) -> None:
        self.publisher.close()
        self.replayer.close()


def stored(name: int, *tokens: int, parent: int | None = None) -> dict[str, Any]:
    """Return the event of one block."""
    return {
        "type": "BlockStored", "block_hashes": [name], "parent_block_hash": parent, "token_ids": list(tokens), "block_size": len(tokens),
    }  # fmt: skip


@asynccontextmanager
async def engine(*, replays: bool = True, **options: Any) -> AsyncIterator[Engine]:
    with zmq.asyncio.Context() as context:
        made = Engine(context, **options)
        task = asyncio.create_task(made.replay()) if replays else None
        try:
            yield made
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            made.close()


@asynccontextmanager
async def listening(
    *endpoints: Endpoint, **settings: Any
) -> AsyncIterator[tuple[KvEvents, Index, asyncio.TaskGroup]]:
    index = Index()
    events = KvEvents(EventSettings(**settings), index)
    try:
        async with asyncio.TaskGroup() as group:
            events.open(group)
            events.follow(endpoints, group)
            try:
                yield events, index, group
            finally:
                await events.close()
    finally:
        await events.close()


async def test_what_an_engine_publishes_is_in_the_index() -> None:
    """Whatever its topic is."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        await one.publish(0, stored(1, 5, 6), stored(2, 7, 8, parent=1))
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6, 7, 8) == 4)
        heard = events.statistics()["127.0.0.1:8000"]
        assert (heard.messages, heard.events, heard.whole, heard.replays) == (1, 2, True, 0)
        assert index.whole(np.array([index.slot("127.0.0.1:8000"), -1])).tolist() == [True, False]


async def test_who_joins_late_has_it_replayed() -> None:
    """From 0 on, and what came meanwhile is not taken twice."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        for number in range(3):
            await one.publish(number, stored(number, number, 9), lost=True)
        await one.publish(3, stored(3, 3, 9))
        await one.publish(4, stored(4, 4, 9))
        await index.until(lambda: index.held("127.0.0.1:8000", 4, 9) == 2)
        assert [index.held("127.0.0.1:8000", number, 9) for number in range(5)] == [2] * 5
        assert events.statistics()["127.0.0.1:8000"].whole
        assert one.asked == [0]
        assert index.statistics().entries == 5


async def test_a_gap_is_filled_from_the_last_message_on() -> None:
    """What was known stays."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        await one.publish(0, stored(1, 5, 6))
        await one.publish(1, stored(2, 7, 8, parent=1), lost=True)
        await one.publish(2, stored(3, 9, 9, parent=2))
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6, 7, 8, 9, 9) == 6)
        heard = events.statistics()["127.0.0.1:8000"]
        assert (one.asked, heard.gaps, heard.replays, heard.whole) == ([0], 0, 1, True)


async def test_a_gap_that_nobody_can_fill_costs_what_was_known() -> None:
    """Blocks may be gone without our knowing: what is in the index must be in the engine."""
    async with engine() as one:
        endpoint = one.at()
        labels = {key: value for key, value in endpoint.labels.items() if "replay" not in key}
        async with listening(msgspec.structs.replace(endpoint, labels=labels)) as (events, index, _):
            await one.subscribed()
            await one.publish(0, stored(1, 5, 6))
            await one.publish(2, stored(2, 7, 8))
            await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
            assert index.held("127.0.0.1:8000", 5, 6) == 0
            heard = events.statistics()["127.0.0.1:8000"]
            assert (heard.gaps, heard.whole, one.asked) == (1, False, [])


async def test_a_replay_that_begins_too_late_is_taken_as_far_as_it_goes() -> None:
    """The engine keeps so many messages and no more; upstream asks for ever."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        await one.publish(0, stored(1, 5, 6))
        await one.publish(1, stored(2, 1, 2), lost=True, kept=False)
        one.kept.clear()
        await one.publish(2, stored(3, 3, 4), lost=True)
        await one.publish(3, stored(4, 7, 8))
        await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
        assert index.held("127.0.0.1:8000", 3, 4) == 2
        assert index.held("127.0.0.1:8000", 5, 6) == 0
        heard = events.statistics()["127.0.0.1:8000"]
        assert (heard.gaps, heard.whole) == (1, False)


async def test_an_engine_that_restarts_begins_with_nothing() -> None:
    """Its numbers go back; a later restart is seen as well."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        for run in range(3):
            one.kept.clear()
            await one.publish(0, stored(1, run, 6))
            await index.until(lambda run=run: index.held("127.0.0.1:8000", run, 6) == 2)
        assert index.held("127.0.0.1:8000", 0, 6) == 0
        heard = events.statistics()["127.0.0.1:8000"]
        assert (heard.restarts, heard.whole) == (2, True)


async def test_a_restart_that_went_unseen_is_found_by_the_replay() -> None:
    """Its numbers went on past ours while we were cut off, but the last message we had is another one now."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        await one.publish(0, stored(1, 5, 6))
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6) == 2)
        await one.publish(0, stored(1, 1, 1), lost=True)
        await one.publish(1, stored(2, 2, 2), lost=True)
        await one.publish(2, stored(3, 3, 3))
        await index.until(lambda: index.held("127.0.0.1:8000", 3, 3) == 2)
        assert [index.held("127.0.0.1:8000", *each) for each in ((5, 6), (1, 1), (2, 2))] == [0, 2, 2]
        heard = events.statistics()["127.0.0.1:8000"]
        assert (heard.restarts, heard.whole, one.asked) == (1, True, [0, 0])


async def test_a_replay_socket_that_does_not_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go on without it, and it is not asked again for a while."""
    monkeypatch.setattr(source_module, "_IDLE_SECONDS", 0.05)
    async with engine(replays=False) as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        await one.publish(4, stored(1, 5, 6))
        await one.publish(9, stored(2, 7, 8))
        await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
        heard = events.statistics()["127.0.0.1:8000"]
        assert (heard.replays, heard.gaps, heard.whole) == (1, 1, False)


async def test_what_cannot_be_read_is_counted() -> None:
    """And costs nothing else."""
    async with engine() as one, listening(one.at()) as (events, index, _):
        await one.subscribed()
        for frames in ([b"x"], [b"", b"", b""], [b"", b"\0" * 8, b"\xc1"]):
            await one.publisher.send_multipart(frames)
        await one.publish(0, stored(1, 5, 6), {"type": "BlockPainted"})
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6) == 2)
        assert events.statistics()["127.0.0.1:8000"].unreadable == 4


async def test_a_replay_that_cannot_be_read_is_counted() -> None:
    """Whoever answers there may be no engine: that must not end the listening, nor the picker."""
    async with engine(replays=False) as one:

        async def answer() -> None:
            client, *_ = await one.replayer.recv_multipart()
            payload = msgspec.msgpack.encode([1.0, [stored(1, 5, 6)], 0])
            for frames in (
                [b"x"],
                [b"\xff" * 9, payload],
                [b"", b"", b"\0" * 8, payload],
                [b"\xff" * 8, b""],
            ):
                await one.replayer.send_multipart([client, *frames])

        answering = asyncio.create_task(answer())
        async with listening(one.at()) as (events, index, _):
            await one.subscribed()
            await one.publish(1, stored(2, 7, 8))
            await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
            assert index.held("127.0.0.1:8000", 5, 6) == 2
            heard = events.statistics()["127.0.0.1:8000"]
            assert (heard.replays, heard.unreadable, heard.whole) == (1, 2, True)
            await one.publisher.send_multipart([b"", b"\xff" * 8, msgspec.msgpack.encode([9.0, [], 0])])
            await one.publish(2, stored(3, 9, 10))
            await index.until(lambda: index.held("127.0.0.1:8000", 9, 10) == 2)
            assert events.statistics()["127.0.0.1:8000"].unreadable == 3
        await answering


async def test_an_address_that_changes_is_followed() -> None:
    """What the old one said is forgotten; so is an endpoint that left."""
    async with engine() as one, engine() as other, listening(one.at()) as (events, index, group):
        await one.subscribed()
        await one.publish(0, stored(1, 5, 6))
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6) == 2)
        events.follow((other.at(),), group)
        assert index.held("127.0.0.1:8000", 5, 6) == 0
        await other.subscribed()
        await other.publish(0, stored(1, 7, 8))
        await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
        events.follow((), group)
        assert index.statistics().entries == 0
        assert events.statistics() == {}


async def test_engines_may_connect_to_one_socket() -> None:
    """Topics say whose events they are; one that names nobody is reported."""
    ends = (Endpoint.at("127.0.0.1", 8000), Endpoint.at("127.0.0.1", 8001))
    async with listening(*ends, bind="tcp://127.0.0.1:*", topic="kv@") as (events, index, _):
        with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as publisher:
            publisher.linger = 0
            publisher.connect(events.bound)
            async with asyncio.timeout(10):
                assert await publisher.recv() == b"\x01kv@"
            payload = msgspec.msgpack.encode([1.0, [stored(1, 5, 6)], 0])
            for topic in (b"kv@10.9.9.9:1@m", b"kv@127.0.0.1:8001@m"):
                await publisher.send_multipart([topic, bytes(8), payload])
            await index.until(lambda: index.held("127.0.0.1:8001", 5, 6) == 2)
        assert index.held("127.0.0.1:8000", 5, 6) == 0
        assert events.strangers == ("kv@10.9.9.9:1@m",)


async def test_an_engine_that_calls_itself_another_endpoint_is_not_heard() -> None:
    """Two ports were mixed up: what one holds must not count as the other's."""
    async with engine() as one, listening(one.at(), Endpoint.at("127.0.0.1", 8001)) as (events, index, _):
        await one.subscribed()
        payload = msgspec.msgpack.encode([1.0, [stored(1, 5, 6)], 0])
        for topic in (b"kv@127.0.0.1:8001@m", b"kv@somewhere@m"):
            await one.publisher.send_multipart([topic, bytes(8), payload])
        await index.until(lambda: index.held("127.0.0.1:8000", 5, 6) == 2)
        assert events.statistics()["127.0.0.1:8000"].messages == 1


async def test_an_address_that_cannot_be_bound_is_an_error_of_the_configuration() -> None:
    """In one sentence."""
    events = KvEvents(EventSettings(bind="tcp://300.1.1.1:1"), ExactIndex())
    async with asyncio.TaskGroup() as group:
        with pytest.raises(ConfigError, match="cannot bind"):
            events.open(group)
    await events.close()


async def test_keys_keep_strangers_out() -> None:
    """With CURVE an engine is heard whose key is the one that was configured, and no other."""
    server_public, server_secret = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    options = {"curve_server": True, "curve_secretkey": server_secret}
    curve = Curve(public.decode(), secret.decode(), server_public.decode())
    async with engine(**options) as one, engine() as plain:
        async with listening(one.at(), plain.at(8001), curve=curve) as (events, index, _):
            await one.subscribed()
            await plain.publish(0, stored(1, 5, 6))
            await one.publish(1, stored(1, 5, 6), lost=True)
            await one.publish(2, stored(2, 7, 8))
            await index.until(lambda: index.held("127.0.0.1:8000", 7, 8) == 2)
            assert events.statistics()["127.0.0.1:8001"].messages == 0


@pytest.mark.parametrize("encoding", ["map", "array", "sglang"])
@pytest.mark.parametrize("as_numbers", [True, False])
async def test_the_simulators_publisher_is_understood(encoding: Any, as_numbers: bool) -> None:
    """In every encoding, from its first message on by replay."""
    config = KvEventsConfig(
        enable_kv_cache_events=True,
        endpoint="tcp://127.0.0.1:*",
        replay_endpoint="tcp://127.0.0.1:*",
        encoding=encoding,
    )
    encoder = BatchEncoder(2, encoding=encoding, hash_bytes=None if as_numbers else 32)
    clock = itertools.count(1)
    publisher = KvPublisher(config, encoder, lambda: float(next(clock)))
    sequence = TokenSequence("s", 5, 1, block_hashes=(2**63 + 8, 9), tokens=array("I", range(6)))
    async with publisher.running("kv@x@demo"):
        publisher(Stored(sequence, 0, (2**63 + 8,), "GPU"))
        await asyncio.sleep(0)
        ports = [
            (address or "").rpartition(":")[2] for address in (publisher.endpoint, publisher.replay_endpoint)
        ]
        labels = dict(zip(("igw.dev/kv-events-port", "igw.dev/kv-events-replay-port"), ports, strict=True))
        async with listening(Endpoint.at("127.0.0.1", 8000, labels=labels)) as (_, index, __):
            number = 0
            async with asyncio.timeout(10):
                # A PUB socket does not tell when its subscriber has come: go on until one message was heard.
                while not index.held("127.0.0.1:8000", 0, 1, 2, 3):
                    publisher(Stored(sequence, 1, (9,), "GPU"))
                    number += 1
                    await asyncio.sleep(0.01)
            assert index.held("127.0.0.1:8000", 0, 1, 2, 3) == 4
            assert index.whole(np.array([index.slot("127.0.0.1:8000"), -1])).tolist() == [True, False]
