"""KV events over real sockets."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from igw.simulator.engine.events import Cleared, Removed, Stored
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.kv_events.hashing import TokenSequence
from igw.simulator.kv_events.messages import BatchEncoder
from igw.simulator.kv_events.publisher import END_OF_REPLAY, KvPublisher

_TOPIC = "kv@127.0.0.1:8000@demo"


@asynccontextmanager
async def _socket(kind: int, endpoint: str) -> AsyncIterator[zmq.asyncio.Socket]:
    with zmq.asyncio.Context(zmq.Context.instance()).socket(kind) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        async with asyncio.timeout(10):
            yield socket


@asynccontextmanager
async def _subscribed(endpoint: str) -> AsyncIterator[zmq.asyncio.Socket]:
    async with _socket(zmq.SUB, endpoint) as socket:
        socket.subscribe(b"kv@")
        yield socket


def _publisher(**settings: Any) -> KvPublisher:
    settings.setdefault("endpoint", "tcp://127.0.0.1:*")
    config = KvEventsConfig(enable_kv_cache_events=True, **settings)
    return KvPublisher(config, BatchEncoder(2, encoding=config.encoding), lambda: 1.5)


async def _heard(publisher: KvPublisher, subscriber: zmq.asyncio.Socket) -> int:
    """Publish until the subscription has arrived; return the number of the message that came first."""
    while True:
        publisher(Cleared())
        await asyncio.sleep(0)
        if await subscriber.poll(20):
            return int.from_bytes((await subscriber.recv_multipart())[1])


async def _replayed(endpoint: str, start: int) -> list[list[bytes]]:
    """Return everything the replay socket answers, the end marker last."""
    async with _socket(zmq.DEALER, endpoint) as dealer:
        await dealer.send_multipart([b"", start.to_bytes(8)])
        answers = [await dealer.recv_multipart()]
        while answers[-1][-1]:
            answers.append(await dealer.recv_multipart())
        return answers


async def test_a_batch_has_topic_number_and_payload() -> None:
    """The three frames of vLLM; what happened in one turn of the loop is one batch, in order."""
    publisher = _publisher()
    sequence = TokenSequence("s", 5, 1, block_hashes=(8, 9), tokens=array("I", range(6)))
    async with publisher.running(_TOPIC), _subscribed(publisher.endpoint) as subscriber:
        first = await _heard(publisher, subscriber)
        await _quiet(subscriber)
        publisher(Removed((3,), "GPU"))
        publisher(Stored(sequence, 0, (8, 9), "GPU"))
        topic, number, payload = await subscriber.recv_multipart()
    timestamp, events, rank = msgspec.msgpack.decode(payload)
    assert topic == _TOPIC.encode()
    assert int.from_bytes(number) > first
    assert (timestamp, rank) == (1.5, 0)
    assert [(each["type"], each["block_hashes"]) for each in events] == [
        ("BlockRemoved", [3]),
        ("BlockStored", [8, 9]),
    ]


async def _quiet(subscriber: zmq.asyncio.Socket) -> None:
    while await subscriber.poll(20):
        await subscriber.recv_multipart()


async def test_what_was_missed_is_sent_again_from_any_number_on() -> None:
    """A subscriber that saw nothing asks from 0, one with a gap from the number it misses."""
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*")
    async with publisher.running(_TOPIC):
        for name in range(4):
            publisher(Removed((name,), "GPU"))
            await asyncio.sleep(0)
        assert publisher.replay_endpoint is not None
        everything = await _replayed(publisher.replay_endpoint, 0)
        late = await _replayed(publisher.replay_endpoint, 3)
    assert [answer[:3] for answer in everything[:-1]] == [
        [b"", _TOPIC.encode(), number.to_bytes(8)] for number in range(4)
    ]
    assert [msgspec.msgpack.decode(answer[3])[1][0]["block_hashes"] for answer in everything[:-1]] == [
        [0],
        [1],
        [2],
        [3],
    ]
    assert everything[-1] == late[-1] == [b"", b"", END_OF_REPLAY, b""]
    assert late[:-1] == everything[3:4]


@pytest.mark.parametrize("encoding", ["array", "sglang"])
async def test_engines_that_do_not_repeat_the_topic_send_one_frame_less(encoding: str) -> None:
    """SGLang and older vLLM answer a replay with number and payload only."""
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*", encoding=encoding)
    async with publisher.running(_TOPIC):
        publisher(Cleared())
        await asyncio.sleep(0)
        assert publisher.replay_endpoint is not None
        answer, end = await _replayed(publisher.replay_endpoint, 0)
    assert answer[:2] == [b"", bytes(8)]
    assert end == [b"", END_OF_REPLAY, b""]


async def test_only_the_last_batches_can_be_replayed() -> None:
    """`buffer_steps` bounds the memory."""
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*", buffer_steps=2)
    async with publisher.running(_TOPIC):
        for _ in range(5):
            publisher(Cleared())
            await asyncio.sleep(0)
        assert publisher.replay_endpoint is not None
        answers = await _replayed(publisher.replay_endpoint, 0)
    assert [int.from_bytes(answer[2]) for answer in answers[:-1]] == [3, 4]


async def test_a_malformed_replay_request_is_ignored_and_the_next_one_served() -> None:
    """As vLLM does; the socket stays up."""
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*")
    async with publisher.running(_TOPIC):
        assert publisher.replay_endpoint is not None
        async with _socket(zmq.DEALER, publisher.replay_endpoint) as dealer:
            await dealer.send_multipart([b"replay please"])
            await dealer.send_multipart([b"", b"short"])
            await dealer.send_multipart([b"", bytes(8)])
            assert await dealer.recv_multipart() == [b"", b"", END_OF_REPLAY, b""]


async def test_a_successor_has_the_address_counts_from_zero_and_has_nothing_to_replay() -> None:
    """What subscribers take as the sign to forget the server's blocks: the address is free at once."""
    earlier = _publisher(replay_endpoint="tcp://127.0.0.1:*")
    async with earlier.running(_TOPIC):
        for _ in range(3):
            earlier(Cleared())
            await asyncio.sleep(0)
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*")
    publisher.succeed(earlier)
    async with publisher.running(_TOPIC), _subscribed(earlier.endpoint) as subscriber:
        assert (publisher.endpoint, publisher.replay_endpoint) == (earlier.endpoint, earlier.replay_endpoint)
        publisher(Removed((2,), "GPU"))
        await asyncio.sleep(0)
        assert publisher.replay_endpoint is not None
        answer, _ = await _replayed(publisher.replay_endpoint, 0)
        await _heard(publisher, subscriber)
    assert int.from_bytes(answer[2]) == 0
    assert msgspec.msgpack.decode(answer[3])[1] == [
        {"type": "BlockRemoved", "block_hashes": [2], "medium": "GPU", "group_idx": 0}
    ]


async def test_an_address_without_a_wildcard_is_connected_to() -> None:
    """A subscriber that all servers connect to has bound it."""
    with zmq.asyncio.Context(zmq.Context.instance()).socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        port = subscriber.bind_to_random_port("tcp://127.0.0.1")
        subscriber.subscribe(b"")
        publisher = _publisher(endpoint=f"tcp://127.0.0.1:{port}")
        async with publisher.running(_TOPIC), asyncio.timeout(10):
            await _heard(publisher, subscriber)


@pytest.mark.parametrize("address", [lambda path: f"ipc://{path}/kv", lambda _path: "inproc://kv-test"])
async def test_ipc_and_inproc_addresses_work(address: Callable[[Path], str], tmp_path: Path) -> None:
    """Both are bound, as by vLLM."""
    publisher = _publisher(endpoint=address(tmp_path))
    async with publisher.running(_TOPIC), _subscribed(publisher.endpoint) as subscriber:
        await _heard(publisher, subscriber)


async def test_a_subscriber_that_does_not_read_holds_nobody_up() -> None:
    """Beyond its high-water mark batches are dropped for it; a replay has them."""
    publisher = _publisher(replay_endpoint="tcp://127.0.0.1:*", hwm=1)
    async with publisher.running(_TOPIC), _subscribed(publisher.endpoint) as subscriber:
        await _heard(publisher, subscriber)
        for name in range(3000):
            publisher(Removed((name,), "GPU"))
            await asyncio.sleep(0)
        assert publisher.replay_endpoint is not None
        answers = await _replayed(publisher.replay_endpoint, 0)
    assert [int.from_bytes(answer[2]) for answer in answers[:-1]] == list(range(len(answers) - 1))
    assert len(answers) > 3000


async def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    """Two publishers cannot have one port."""
    publisher = _publisher()
    async with publisher.running(_TOPIC):
        taken = publisher.endpoint.rpartition(":")[2]
        with pytest.raises(OSError, match=rf"KV events cannot use tcp://\*:{taken}: Address already in use"):
            async with _publisher(endpoint=f"tcp://*:{taken}").running(_TOPIC):
                raise AssertionError("two publishers have the same port")
