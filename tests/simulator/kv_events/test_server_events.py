"""KV events of real servers, and the law that they tell exactly what an engine holds."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import cbor2
import msgspec
import pytest
import zmq
import zmq.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Sequence
from igw.simulator.fleet import running
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.kv_events.hashing import BlockHasher
from igw.simulator.kv_events.messages import BatchEncoder
from igw.simulator.kv_events.server_events import ServerEvents, media_in
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec
from igw.simulator.server import ModelServer
from igw.simulator.text import render_chat, tokenize

_SIZE = 16
_PROMPT = "The same beginning of every prompt, long enough for some blocks of sixteen tokens each. " * 4


class _Site:
    def __init__(self, server: ModelServer, port: int, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.port = port
        self._http = http

    async def post(self, path: str, body: Any = None) -> Any:
        async with self._http.post(f"http://127.0.0.1:{self.port}{path}", json=body) as response:
            text = await response.text()
            assert response.status == 200, text
            return text

    async def ready(self) -> None:
        """Wait until the server listens."""
        async with asyncio.timeout(10):
            while True:
                try:
                    async with self._http.get(f"http://127.0.0.1:{self.port}/health") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.01)

    async def events(self) -> list[tuple[int, list[Any], int]]:
        """All batches so far, from the replay socket: number, events, rank."""
        assert self.server.state.kv_events is not None
        [publisher] = self.server.state.kv_events.publishers
        assert publisher.replay_endpoint is not None
        context = zmq.asyncio.Context(zmq.Context.instance())
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(publisher.replay_endpoint)
            batches = []
            async with asyncio.timeout(10):
                await dealer.send_multipart([b"", bytes(8)])
                while (frames := await dealer.recv_multipart())[-1]:
                    _, events, rank = msgspec.msgpack.decode(frames[-1])
                    batches.append((int.from_bytes(frames[2]), events, rank))
            return batches


def _config(**settings: Any) -> KvEventsConfig:
    anywhere = {"endpoint": "tcp://127.0.0.1:*", "replay_endpoint": "tcp://127.0.0.1:*"}
    return KvEventsConfig(enable_kv_cache_events=True, **(anywhere | settings))


@asynccontextmanager
async def _site(**spec: Any) -> AsyncIterator[_Site]:
    fields: dict[str, Any] = {"kv_events_config": _config(), "model": "demo", "speed": 50.0}
    server = ModelServer(SimulatorSpec(**(fields | spec)).server())
    async with server.serving("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        yield _Site(server, port, http)


def _replayed(batches: list[list[Any]]) -> dict[str, set[int]]:
    """What a subscriber believes after these events: the hashes on each tier."""
    tiers: dict[str, set[int]] = {"GPU": set(), "CPU": set()}
    for events in batches:
        for event in events:
            if event["type"] == "AllBlocksCleared":
                tiers = {"GPU": set(), "CPU": set()}
            elif event["type"] == "BlockStored":
                tiers[event["medium"]] |= set(event["block_hashes"])
            else:
                tiers[event["medium"]] -= set(event["block_hashes"])
    return tiers


def _recomputed(stored: list[Any], seed: str = "0") -> list[int]:
    """The hashes of a chain of BlockStored events, from their tokens and extra keys and nothing else."""
    parent, hashes = hashlib.sha256(cbor2.dumps(seed, canonical=True)).digest(), []
    for event in stored:
        for block, keys in enumerate(event["extra_keys"]):
            tokens = tuple(event["token_ids"][block * _SIZE : (block + 1) * _SIZE])
            extra = None if keys is None else tuple(tuple(k) if isinstance(k, list) else k for k in keys)
            parent = hashlib.sha256(cbor2.dumps((parent, tokens, extra), canonical=True)).digest()
            hashes.append(int.from_bytes(parent[-8:]))
    return hashes


async def test_hashes_can_be_computed_again_from_the_tokens_that_are_told() -> None:
    """Prompt and answer, block after block, each step's event continuing the one before."""
    async with _site() as site:
        await site.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 40})
        batches = await site.events()
    stored = [event for _, events, _ in batches for event in events]
    assert {event["type"] for event in stored} == {"BlockStored"}
    assert [number for number, _, _ in batches] == list(range(len(batches)))
    told = [each for event in stored for each in event["block_hashes"]]
    assert told == _recomputed(stored)
    # The last token that was generated has no keys and values yet.
    assert len(told) == (len(tokenize(_PROMPT)) + 39) // _SIZE
    parents = [event["parent_block_hash"] for event in stored]
    assert parents == [None, *(event["block_hashes"][-1] for event in stored[:-1])]
    tokens = [token for event in stored for token in event["token_ids"]]
    assert tokens[: len(tokenize(_PROMPT))] == tokenize(_PROMPT).tolist()


async def test_adapter_and_salt_are_told_and_hashed() -> None:
    """The adapter by name and by number with every block, the salt with the first only."""
    body = {"prompt": _PROMPT, "max_tokens": 1, "cache_salt": "tenant-a", "model": "sql"}
    async with _site(kv_events_config=_config(hash_seed="7")) as site:
        await site.post("/v1/load_lora_adapter", {"lora_name": "other", "lora_path": "/o"})
        await site.post("/v1/load_lora_adapter", {"lora_name": "sql", "lora_path": "/s"})
        await site.post("/v1/completions", body)
        [(_, [stored], _)] = await site.events()
    blocks = len(tokenize(_PROMPT)) // _SIZE
    assert (stored["lora_name"], stored["lora_id"]) == ("sql", 2)
    assert stored["extra_keys"] == [["sql", "tenant-a"], *[["sql"]] * (blocks - 1)]
    assert stored["block_hashes"] == _recomputed([stored], seed="7")


async def test_pictures_are_told_as_extra_keys_of_the_blocks_they_are_in() -> None:
    """With their place relative to the block, as vLLM does."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it? "}, picture]}]
    async with _site() as site:
        await site.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1})
        [(_, [stored], _)] = await site.events()
    [media] = media_in(tokenize(render_chat(messages)))
    with_media = [block for block, keys in enumerate(stored["extra_keys"]) if keys is not None]
    first, last = media.first_token // _SIZE, (media.first_token + media.tokens - 1) // _SIZE
    assert with_media == list(range(first, min(last + 1, len(stored["block_hashes"]))))
    assert stored["extra_keys"][first] == [[media.identifier, media.first_token - first * _SIZE]]
    assert stored["block_hashes"] == _recomputed([stored])


async def test_a_prompt_that_is_cached_is_not_told_again() -> None:
    """The second request adds nothing."""
    async with _site() as site:
        for _ in range(2):
            await site.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 1})
        assert len(await site.events()) == 1


@pytest.mark.parametrize("path", ["/reset_prefix_cache", "/sleep"])
async def test_a_cache_that_is_emptied_is_told_at_once(path: str) -> None:
    """Also by a server that computes nothing, where vLLM waits for its next step."""
    async with _site() as site:
        await site.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 1})
        await site.post(path)
        batches = await site.events()
    assert batches[-1][1] == [{"type": "AllBlocksCleared"}]
    assert _replayed([events for _, events, _ in batches]) == {"GPU": set(), "CPU": set()}


async def test_evicted_blocks_are_told_one_by_one() -> None:
    """Two prompts that do not fit together."""
    async with _site(num_gpu_blocks=8) as site:
        for word in ("one", "two"):
            await site.post("/v1/completions", {"prompt": f"{word} " * 90, "max_tokens": 1})
        names, _ = site.server.engine.blocks.names()
        batches = await site.events()
    removed = [event for _, events, _ in batches for event in events if event["type"] == "BlockRemoved"]
    assert removed
    assert {len(event["block_hashes"]) for event in removed} == {1}
    held = {name & (2**64 - 1) for name in names}
    assert _replayed([events for _, events, _ in batches])["GPU"] == held


async def test_a_restarted_server_publishes_from_zero_at_the_same_address() -> None:
    """Its cache is empty and nothing of before can be replayed."""
    async with _site() as site:
        for word in ("one", "two", "three"):
            await site.post("/v1/completions", {"prompt": f"{word} " * 90, "max_tokens": 1})
        before = site.server.state.kv_events
        assert len(await site.events()) == 3
        await site.post("/igw/restart", {})
        async with asyncio.timeout(10):
            while site.server.state.kv_events is before:
                await asyncio.sleep(0)
        await site.ready()
        await site.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 1})
        [(number, [stored], _)] = await site.events()
    assert number == 0
    assert stored["block_hashes"] == _recomputed([stored])


async def test_the_topic_can_name_the_server() -> None:
    """What subscribers of several servers tell them apart by."""
    async with _site(kv_events_config=_config(topic="kv@{address}:{port}@{model}")) as site:
        assert site.server.state.kv_events is not None
        [publisher] = site.server.state.kv_events.publishers
        context = zmq.asyncio.Context(zmq.Context.instance())
        with context.socket(zmq.SUB) as subscriber:
            subscriber.linger = 0
            subscriber.connect(publisher.endpoint)
            subscriber.subscribe(b"kv@")
            async with asyncio.timeout(10):
                # A subscription takes effect some time after it was made, and nobody is told when.
                while not await subscriber.poll(20):
                    await site.post("/reset_prefix_cache")
                topic, _, _ = await subscriber.recv_multipart()
        assert topic.decode() == f"kv@127.0.0.1:{site.port}@demo"


async def test_without_the_setting_nothing_is_published() -> None:
    """And blocks are named by the fast hash."""
    async with _site(kv_events_config=KvEventsConfig(endpoint="tcp://127.0.0.1:*")) as site:
        assert site.server.state.kv_events is None
        await site.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 1})


def _simulator(**spec: Any) -> Simulator:
    return Simulator(metadata=Metadata(name="sim"), spec=SimulatorSpec(model="demo", **spec))


async def test_replicas_of_one_process_have_addresses_of_their_own(tmp_path: Any) -> None:
    """Named ones count up; a port that is taken is one sentence."""
    config = _config(endpoint=f"ipc://{tmp_path}/kv", replay_endpoint=None)
    async with running([_simulator(replicas=3, kv_events_config=config)]):
        assert sorted(each.name for each in tmp_path.iterdir()) == ["kv", "kv_dp1", "kv_dp2"]


async def test_an_address_that_cannot_be_used_is_a_configuration_error() -> None:
    """With the field at fault."""
    config = _config(endpoint="ipc:///does/not/exist/kv", replay_endpoint=None)
    sentence = r"Simulator default/sim: spec.kvEventsConfig: KV events cannot use ipc:///does/not/exist/kv: "
    with pytest.raises(ConfigError, match=sentence):
        async with running([_simulator(kv_events_config=config)]):
            pytest.fail("there is no such directory")


async def test_ports_that_run_into_each_other_are_a_configuration_error() -> None:
    """Before anything is bound."""
    config = _config(endpoint="tcp://*:5557", replay_endpoint="tcp://*:5558")
    with pytest.raises(ConfigError, match="of 2 engines overlap"):
        async with running([_simulator(replicas=2, kv_events_config=config)]):
            pytest.fail("ports overlap")


_STEP_TIME = StepTime.load()
_steps = st.lists(
    st.tuples(
        st.sampled_from(["submit", "step", "abort", "reset", "sleep", "wake"]),
        st.integers(0, 3),
        st.integers(1, 40),
        st.integers(1, 12),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(_steps, st.integers(0, 6))
def test_events_replayed_into_a_set_are_exactly_the_names_in_memory(
    actions: list[tuple[str, int, int, int]], cpu_blocks: int
) -> None:
    """On both tiers, after everything that can happen to an engine."""
    pending: list[Any] = []
    config = EngineConfig(step_time=_STEP_TIME, num_gpu_blocks=12, block_size=4, cpu_blocks=cpu_blocks)
    engine, hasher, encoder = (
        Engine(config, pending.append),
        BlockHasher("xxhash_cbor", "0", 4),
        BatchEncoder(4),
    )
    batches, alive = [], []
    for number, (action, family, prompt, output) in enumerate(actions):
        if action == "submit" and prompt + output <= config.max_sequence_tokens:
            # Equal families share their beginnings.
            tokens = array("I", [family] * prompt + [100 + number] * output)
            sequence = Sequence(str(number), prompt, output, block_hashes=hasher.hashes(tokens))
            engine.submit(ServerEvents.told(sequence, tokens, ""), float(number))
            alive.append(str(number))
        elif action == "step":
            if step := engine.begin_step(float(number)):
                engine.finish_step(step)
        elif action == "abort" and alive:
            engine.abort(alive.pop(family % len(alive)))
        elif action == "reset":
            engine.reset_prefix_cache()
        elif action == "sleep":
            engine.sleep()
        elif action == "wake":
            engine.wake()
        batches.append(msgspec.msgpack.decode(encoder.encode(pending, 0.0))[1])
        pending.clear()
        gpu, cpu = engine.blocks.names()
        shown = {"GPU": {name & (2**64 - 1) for name in gpu}, "CPU": {name & (2**64 - 1) for name in cpu}}
        assert _replayed(batches) == shown
