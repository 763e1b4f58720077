"""The picker with an exact prefix producer: engines that publish, requests that follow what they told, metrics and bad settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.kvevents.following import Following, event_settings
from igw.kvevents.settings import Curve, EventSettings
from igw.parsing.reading import read
from igw.prefix.doubts import Doubt
from igw.request import Head
from igw.scheduling.producers.precise_prefix_cache import KvEventsConfig, PrecisePrefixCacheProducer

TOKENS = list(range(64))
LONG = list(range(4096))
NAME = "precise-prefix-cache-producer"


def manifests(folder: Path, ports: list[int]) -> Path:
    """Write a pool of endpoints, each of which publishes at one of *ports*, and a configuration that goes by what they tell."""
    endpoints = "\n".join(
        f"- {{name: e{number}, address: 127.0.0.1, port: {9000 + number}, labels: {{app: m, igw.dev/kv-events-port: '{port}'}}}}"
        for number, port in enumerate(ports)
    )
    path = folder / "pool.yaml"
    path.write_text(
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: m}\nspec:\n"
        "  selector: {matchLabels: {app: m}}\n  targetPorts: [{number: 9000}]\n"
        f"  endpointPickerRef: {{name: epp, port: {{number: 9002}}}}\n---\nendpoints:\n{endpoints}\n---\n"
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
        f"plugins: [{{type: {NAME}}}, {{type: prefix-cache-scorer, parameters: {{prefixMatchInfoProducerName: {NAME}}}}}]\n"
    )
    return path


class Told(asyncio.Event):
    """Set whenever an index was told something."""

    def of(self, producer: PrecisePrefixCacheProducer) -> None:
        apply = producer.index.apply

        def applied(slot: int, events: Any) -> None:
            apply(slot, events)
            self.set()

        producer.index.apply = applied  # type: ignore[method-assign]


async def test_requests_go_where_the_engine_said_it_has_their_prompt(tmp_path: Path) -> None:
    """Through the whole picker: files, sockets, producer, scorer; and the metrics say what is known."""
    with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as one, context.socket(zmq.XPUB) as other:
        ports = []
        for socket in (one, other):
            socket.linger = 0
            ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
        settings = PickerSettings((manifests(tmp_path, ports),), grpc_port=0, health_port=0, metrics_port=0)
        picker = Picker(settings)
        async with asyncio.timeout(20), picker.running():
            told, producer = Told(), picker._router.plugins.by_name[NAME]
            told.of(producer)
            await one.recv()
            await other.recv()
            event = {
                "type": "BlockStored",
                "block_hashes": [1, 2, 3, 4],
                "token_ids": TOKENS,
                "block_size": 16,
            }
            await other.send_multipart([b"", bytes(8), msgspec.msgpack.encode([1.0, [event], 0])])
            await told.wait()
            request = read(
                Head("/v1/completions", "POST", {}), msgspec.json.encode({"model": "m", "prompt": TOKENS})
            )
            decisions = [await picker._router.route(request) for _ in range(8)]
            assert {decision.endpoint.port for decision in decisions} == {9001}
            page = generate_latest(picker._families.registry).decode()
        assert f'igw_kv_events_total{{endpoint="127.0.0.1:9001",plugin_name="{NAME}"}} 1.0' in page
        assert f'igw_kv_events_whole{{endpoint="127.0.0.1:9001",plugin_name="{NAME}"}} 1.0' in page
        assert f'igw_exact_prefix_blocks{{plugin_name="{NAME}"}} 4.0' in page
        assert "llm_d_epp_kv_cache_index_admissions_total 4.0" in page
        assert "llm_d_epp_kv_cache_index_evictions_total 0.0" in page
        assert "llm_d_epp_kv_cache_events_messages_received_total 1.0" in page
        assert "llm_d_epp_kv_cache_events_active_subscribers 2.0" in page


async def test_the_default_goes_by_what_engines_tell(tmp_path: Path) -> None:
    """Labels alone make it listen; a request that brings tokens needs nobody to make them, and one that does not is not kept waiting."""
    with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as one, context.socket(zmq.XPUB) as other:
        ports = []
        for socket in (one, other):
            socket.linger = 0
            ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
        path = manifests(tmp_path, ports)
        path.write_text(path.read_text().rpartition("---")[0])
        picker = Picker(PickerSettings((path,), grpc_port=0, health_port=0, metrics_port=0))
        async with asyncio.timeout(20), picker.running():
            told, producer = Told(), picker._router.plugins.by_name[NAME]
            told.of(producer)
            await one.recv()
            await other.recv()
            names: list[int] = list(range(len(LONG) // 16))
            event = {"type": "BlockStored", "block_hashes": names, "token_ids": LONG, "block_size": 16}
            await other.send_multipart([b"", bytes(8), msgspec.msgpack.encode([1.0, [event], 0])])
            await told.wait()
            head = Head("/v1/completions", "POST", {})
            request = read(head, msgspec.json.encode({"model": "m", "prompt": LONG}))
            decision = await picker._router.route(request)
            assert decision.endpoint.port == 9001
            assert decision.matched_tokens == len(LONG)
            assert decision.matched_by == "exact"
            # Nobody listens where the endpoints should be: no tokens, and the approximate index has not seen it.
            text = read(head, msgspec.json.encode({"model": "m", "prompt": "word " * 500}))
            assert (await picker._router.route(text)).matched_by == ""
            assert (await picker._router.route(text)).matched_by in ("", "approximate")


async def test_a_producer_that_is_configured_otherwise_begins_anew() -> None:
    """One that stays goes on; one that is gone is listened for no more."""
    following, ends = Following(), [Endpoint.at("127.0.0.1", 9000)]
    first, second = PrecisePrefixCacheProducer(), PrecisePrefixCacheProducer(speculative_indexing=True)
    async with asyncio.TaskGroup() as group:
        for plugins in ({"a": first}, {"a": first, "b": object()}, {"a": second}, {}):
            await following.follow(plugins, ends, group)
            names = {key: producer for key, (producer, _) in following._listening.items()}
            assert names == {key: each for key, each in plugins.items() if key == "a"}
        await following.close()
    assert first.index.slot_of("127.0.0.1:9000") == 0


async def test_what_cannot_be_bound_leaves_the_picker_with_what_it_believes() -> None:
    """The error is in the log, and the doubt comes with requests."""
    following = Following()
    producers = {
        "bad": msgspec.convert(
            {"kvEventsConfig": {"zmqEndpoint": "tcp://300.1.1.1:1"}}, PrecisePrefixCacheProducer
        ),
        "off": msgspec.convert({"kvEventsConfig": {"discoverPods": False}}, PrecisePrefixCacheProducer),
    }
    async with asyncio.TaskGroup() as group:
        await following.follow(producers, [], group)
        assert [events for _, events in following._listening.values()] == [None, None]
        await following.close()


class Strange:
    """Engines whose topics name nobody."""

    strangers = ("kv@pod@m",)

    def statistics(self) -> dict[str, Any]:
        return {}


def test_doubts_are_on_the_metrics_page() -> None:
    """By kind and endpoint; topics that name no endpoint of ours are one."""
    producer = PrecisePrefixCacheProducer()
    told: list[Doubt] = []
    producer.doubts.report = told.append
    for _ in range(30):
        producer.doubts.asked(tokens=False)
    following = Following()
    following._listening["p"] = (producer, Strange())  # type: ignore[assignment]
    registry = CollectorRegistry()

    class State(Collector):
        def collect(self) -> Any:
            return following.collect()

    registry.register(State())
    page = generate_latest(registry).decode()
    for kind in ("no-tokens", "strangers"):
        assert f'igw_exact_prefix_doubts{{endpoint="",kind="{kind}",plugin_name="p"}} 1.0' in page


def test_settings_are_what_the_file_says(tmp_path: Path) -> None:
    """Keys are read from files."""
    keys = {}
    for name, key in zip(("public", "secret", "server"), (b"p" * 40, b"s" * 40, b"v" * 40), strict=True):
        (tmp_path / name).write_bytes(key + b"\n")
        keys[f"{name}KeyFile"] = str(tmp_path / name)
    config = {
        "zmqEndpoint": "tcp://*:5557",
        "podDiscoveryConfig": {"socketPort": 1, "replaySocketPort": 2},
        "curve": keys,
    }
    assert event_settings(msgspec.convert(config, KvEventsConfig)) == EventSettings(
        "tcp://*:5557", "kv@", 1, 2, Curve("p" * 40, "s" * 40, "v" * 40)
    )


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("short", "holds no key")])
def test_a_key_that_is_none_is_an_error(tmp_path: Path, content: str | None, said: str) -> None:
    """With the field's name."""
    if content is not None:
        (tmp_path / "key").write_text(content)
    curve = {"publicKeyFile": str(tmp_path / "key"), "secretKeyFile": str(tmp_path / "key")}
    with pytest.raises(ConfigError, match=said) as caught:
        event_settings(msgspec.convert({"curve": curve}, KvEventsConfig))
    assert caught.value.where == "kvEventsConfig.curve.publicKeyFile"
