"""A running gateway: what it serves, edits while it serves, ports, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from igw.config.manifests import Manifests
from igw.errors import ConfigError
from igw.gateway.run import EnvoyExited, GatewayRunner
from igw.gateway.settings import GatewaySettings


async def test_a_request_goes_where_the_picker_says(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """The picked endpoint answers; it gets the body whole, its length, and the picker's headers."""
    one, two = await serve(), await serve()
    client = await gateway(manifests({"chat": [one.address, two.address]}))
    for server in (one, two, one):
        picker.decide = lambda _asked, to=server.address: wire.Pick(
            to, {"x-prefiller-host-port": "10.0.0.1:8000"}
        )
        status, headers, answer = await client.ask()
        assert status == 200
        assert answer["server"] == server.address
        assert answer["headers"]["x-prefiller-host-port"] == "10.0.0.1:8000"
        assert answer["headers"]["content-length"] == "14"
        assert headers["x-request-id"] == answer["headers"]["x-request-id"]
        assert "x-envoy-upstream-service-time" not in headers
    assert picker.asked[0].body == b'{"model": "m"}'
    assert picker.asked[0].metadata["x-igw-pool"] == "default/chat"
    assert picker.asked[0].metadata["x-igw-mode"] == "lean"


async def test_a_gateway_tells_when_envoy_has_found_its_picker_healthy(
    serve: Any, picker: Any, manifests: Any, gateway: Any
) -> None:
    """Before that requests fail open, or get a 503: who starts both waits for it."""
    server = await serve()
    await picker.says(serving=False)
    client = await gateway(manifests({"chat": [server.address]}))
    assert not await client.runner.finds_picker(within_seconds=0.1)
    await picker.says(serving=True)
    assert await client.runner.finds_picker(within_seconds=10)


async def test_a_request_without_a_body_is_picked_for_too(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """GET /v1/models ends with its headers."""
    one, two = await serve(), await serve()
    client = await gateway(manifests({"chat": [one.address, two.address]}))
    picker.decide = lambda _asked: wire.Pick(two.address)
    status, _, answer = await client.ask("/v1/models", None)
    assert (status, answer["server"], answer["path"]) == (200, two.address, "/v1/models")


async def test_an_edit_does_not_drop_an_answer_on_its_way(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """Weights, routes, endpoints and a whole pool change while an answer streams; new requests see them at once."""
    old, new = await serve(), await serve()
    old.pieces = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n", b"data: [DONE]\n\n"]
    client = await gateway(manifests({"chat": [old.address]}))
    picker.decide = lambda _asked: wire.Pick(old.address)
    async with client.session.post(client.url + "/v1/completions", data=b"{}") as answer:
        assert await answer.content.readuntil(b"two\n\n") == b"data: one\n\ndata: two\n\n"
        await client.runner.update(manifests({"other": [new.address]}))
        picker.decide = lambda _asked: wire.Pick(new.address)
        _, _, other = await client.ask()
        assert other["server"] == new.address
        assert picker.asked[-1].metadata["x-igw-pool"] == "default/other"
        await client.runner.update(manifests({"other": [old.address, new.address]}))
        await client.runner.update(manifests({"other": [new.address]}))
        old.gate.set()
        assert await answer.read() == b"data: three\n\ndata: [DONE]\n\n"


async def test_a_refused_edit_changes_nothing(serve: Any, picker: Any, manifests: Any, gateway: Any) -> None:
    """A regular expression that Python takes and RE2 does not comes back as an error; what was served still is."""
    server = await serve()
    good = manifests({"chat": [server.address]})
    client = await gateway(good)
    match = {"path": {"type": "RegularExpression", "value": "/(?!v1).*"}}
    with pytest.raises(ConfigError, match="Envoy refuses RouteConfiguration"):
        await client.runner.update(manifests({"chat": []}, [{"matches": [match], "backendRefs": []}]))
    status, _, _ = await client.ask()
    assert status == 200
    await client.runner.update(good)


async def test_a_listener_that_moves_is_reached_at_its_new_port(
    serve: Any, manifests: Any, picker: Any
) -> None:
    """The address table follows the edit, and the old port is closed."""
    server = await serve()
    first, second = (_at_port(manifests, server, _free_port()) for _ in range(2))
    async with GatewayRunner(first, GatewaySettings(picker=picker.address)) as runner:
        before = runner.addresses["default/web/http"]
        await runner.update(second)
        after = runner.addresses["default/web/http"]
        assert after == f"127.0.0.1:{second.gateways[0].spec.listeners[0].port}"
        reader, writer = await asyncio.open_connection(*after.split(":"))
        writer.close()
        assert reader.at_eof() is False
        assert before != after


async def test_a_busy_port_is_told_with_gateway_listener_and_port(serve: Any, manifests: Any) -> None:
    """Before Envoy starts, and again when an edit asks for such a port."""
    server = await serve()
    taken = _at_port(manifests, server, server.port)
    with pytest.raises(ConfigError) as caught:
        await GatewayRunner(taken).start()
    assert f"listener http of Gateway default/web cannot have {server.address}" in str(caught.value)
    assert "$.spec.listeners[0].port" in caught.value.where
    async with GatewayRunner(_at_port(manifests, server, _free_port())) as runner:
        with pytest.raises(ConfigError, match=f"cannot have {server.address}"):
            await runner.update(taken)


async def test_a_port_that_is_taken_after_the_check_is_told_alike(
    serve: Any, manifests: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's own refusal becomes the same sentence."""
    server = await serve()
    monkeypatch.setattr(GatewayRunner, "_check_ports", lambda *_: None)
    with pytest.raises(
        ConfigError, match=f"listener http of Gateway default/web cannot have {server.address}"
    ):
        await GatewayRunner(_at_port(manifests, server, server.port)).start()


async def test_without_a_gateway_there_is_nothing_to_run() -> None:
    """The error says so instead of starting an Envoy that serves nothing."""
    with pytest.raises(ConfigError, match="there is no Gateway"):
        await GatewayRunner(Manifests()).start()


async def test_envoys_own_end_is_told(serve: Any, manifests: Any, gateway: Any) -> None:
    """A killed Envoy is seen at once, and an update says what happened."""
    server = await serve()
    written = manifests({"chat": [server.address]})
    client = await gateway(written)
    os.kill(client.runner.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        await client.runner.exited
    assert str(client.runner.death()) == "Envoy was killed by signal 9"
    with pytest.raises(EnvoyExited):
        await client.runner.update(manifests({"chat": []}))


async def test_a_stopped_gateway_leaves_nothing_behind(
    serve: Any, manifests: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process, no port, no file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    server = await serve()
    written = _at_port(manifests, server, _free_port())
    before = set(tmp_path.iterdir())
    runner = GatewayRunner(written)
    await runner.start()
    assert set(tmp_path.iterdir()) != before
    pid = runner.pid
    await runner.stop()
    assert set(tmp_path.iterdir()) == before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", written.gateways[0].spec.listeners[0].port))


async def test_several_workers_share_a_port(serve: Any, manifests: Any, picker: Any) -> None:
    """Each with a socket of its own."""
    server = await serve()
    settings = GatewaySettings(picker=picker.address, free_ports=True, reuse_port=True)
    async with (
        GatewayRunner(manifests({"chat": [server.address]}), settings, concurrency=2) as runner,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(8):  # a connection each
            async with session.get(
                f"http://{runner.addresses['default/web/http']}/v1", headers={"connection": "close"}
            ) as answer:
                assert answer.status == 200


async def test_a_gateway_may_listen_on_ipv6(serve: Any, manifests: Any, picker: Any) -> None:
    """Its address is written with brackets."""
    server = await serve()
    written = manifests({"chat": [server.address]})
    [gateway] = written.gateways
    bound = replace(gateway, metadata=replace(gateway.metadata, annotations={"igw.dev/bind-address": "::1"}))
    settings = GatewaySettings(picker=picker.address, free_ports=True)
    async with GatewayRunner(replace(written, gateways=(bound,)), settings) as runner:
        assert runner.addresses["default/web/http"].startswith("[::1]:")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _at_port(manifests: Any, server: Any, port: int) -> Manifests:
    written = manifests({"chat": [server.address]})
    listener = written.gateways[0].spec.listeners[0]
    gateway = written.gateways[0]
    moved = replace(gateway, spec=replace(gateway.spec, listeners=(replace(listener, port=port),)))
    return replace(written, gateways=(moved,))
