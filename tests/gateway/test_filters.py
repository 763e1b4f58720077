"""What clients may say, and what happens when the picker does not: through a real Envoy."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from igw.gateway.filters import CONTROL_HEADERS, PICKER_HEADERS


@pytest.mark.parametrize("picker_is_up", [True, False])
async def test_a_client_cannot_choose_the_endpoint(
    serve: Any, picker: Any, manifests: Any, gateway: Any, picker_is_up: bool
) -> None:
    """Neither with an endpoint of the pool nor with any other; nor can it pose as the picker in another way."""
    pool, outside = [await serve() for _ in range(2)], await serve()
    client = await gateway(manifests({"chat": [server.address for server in pool]}))
    if not picker_is_up:
        await picker.stop()
    served = set()
    for wanted in (pool[0], outside) * 8:
        headers = dict.fromkeys(CONTROL_HEADERS, wanted.address)
        status, _, answer = await client.ask(headers=headers)
        assert status == 200
        assert not answer["headers"].keys() & set(CONTROL_HEADERS)
        served.add(answer["server"])
    assert served == {server.address for server in pool}
    assert all(not asked.headers.keys() & set(CONTROL_HEADERS) for asked in picker.asked)
    assert bool(picker.asked) is picker_is_up


async def test_a_client_cannot_steer_envoy(serve: Any, manifests: Any, gateway: Any) -> None:
    """Envoy's own request headers (timeouts, retries) are dropped from clients."""
    server = await serve()
    server.pieces = [b"late"]
    client = await gateway(manifests({"chat": [server.address]}))
    headers = {
        "x-envoy-upstream-rq-timeout-ms": "50",
        "x-envoy-upstream-rq-per-try-timeout-ms": "50",
        "x-envoy-retry-on": "5xx",
        "X-Envoy-Max-Retries": "9",
        "x-envoy-expected-rq-timeout-ms": "50",
    }
    asking = asyncio.create_task(
        client.session.post(client.url + "/v1", data=b"{}", headers=headers).__aenter__()
    )
    await server.reached.wait()
    await asyncio.sleep(0.3)  # six times the timeout that the client asked for
    server.gate.set()
    answer = await asking
    assert (answer.status, await answer.read()) == (200, b"late")
    server.pieces = []
    _, _, seen = await client.ask(headers=headers)
    assert not [
        name
        for name in seen["headers"]
        if name.startswith("x-envoy-") and name in {header.lower() for header in headers}
    ]


async def test_what_clients_say_to_the_picker_ends_there(
    serve: Any, picker: Any, manifests: Any, gateway: Any
) -> None:
    """The picker reads objective, fairness id, rewrite and SLOs; the model server does not."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    _, _, answer = await client.ask(headers=dict.fromkeys(PICKER_HEADERS, "1"))
    assert set(PICKER_HEADERS) <= picker.asked[0].headers.keys()
    assert not set(PICKER_HEADERS) & answer["headers"].keys()


async def test_header_modifiers_of_rule_and_backend_reach_the_picker(
    serve: Any, picker: Any, manifests: Any, gateway: Any, to_pool: Any
) -> None:
    """A route may set an objective; a value with a percent sign is taken literally; answers are changed as well."""
    server = await serve()
    rule_filter = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {
            "set": [
                {"name": "x-llm-d-inference-objective", "value": "premium"},
                {"name": "x-share", "value": "50%"},
            ],
            "add": [{"name": "x-tag", "value": "b"}],
            "remove": ["x-private"],
        },
    }
    backend_filter = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "x-pool", "value": "chat"}]},
    }
    rules = [{"filters": [rule_filter], "backendRefs": [to_pool("chat", filters=[backend_filter])]}]
    client = await gateway(manifests({"chat": [server.address]}, rules))
    _, headers, answer = await client.ask(
        headers={"x-tag": "a", "x-private": "1", "x-llm-d-inference-objective": "x"}
    )
    assert picker.asked[0].headers["x-llm-d-inference-objective"] == "premium"
    assert "x-private" not in picker.asked[0].headers
    assert answer["headers"]["x-share"] == "50%"
    assert answer["headers"]["x-tag"] in {"b", "a,b", "a, b"}
    assert headers["x-pool"] == "chat"


async def test_weighted_pools_are_named_to_the_picker(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any, to_pool: Any
) -> None:
    """The picker is told the pool that was drawn, and its pick of that pool is honoured; weight 0 gets nothing."""
    servers = {name: await serve() for name in ("one", "two", "none")}
    rules = [{"backendRefs": [to_pool("one", weight=1), to_pool("two", weight=3), to_pool("none", weight=0)]}]
    client = await gateway(manifests({name: [server.address] for name, server in servers.items()}, rules))
    picker.decide = lambda asked: wire.Pick(
        servers[asked.metadata["x-igw-pool"].removeprefix("default/")].address
    )
    counts = dict.fromkeys(servers, 0)
    for _ in range(60):
        _, _, answer = await client.ask()
        name = picker.asked[-1].metadata["x-igw-pool"].removeprefix("default/")
        assert answer["server"] == servers[name].address
        counts[name] += 1
    assert counts["none"] == 0
    assert 3 <= counts["one"] <= 30  # of 60 draws at 1/4 less than one in 10^5 runs is outside


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_pool_that_fails_open_serves_at_once_when_the_picker_is_gone(
    serve: Any, picker: Any, manifests: Any, gateway: Any, streamed: bool
) -> None:
    """A request with a body goes to any ready server; when the picker is back it is asked again."""
    server = await serve()
    annotations = {"igw.dev/request-body": "Streamed"} if streamed else {}
    client = await gateway(manifests({"chat": [server.address]}, annotations=annotations))
    assert (await client.ask())[0] == 200
    await picker.stop()
    if streamed:  # until then small bodies get an empty 500 from Envoy
        await _until_picker_is(client, "failed_active_hc")
    began = time.monotonic()
    status, _, answer = await client.ask(body=b"x" * 100_000)
    assert (status, answer["length"]) == (200, 100_000)
    assert time.monotonic() - began < 1.0
    await _until_picker_is(client, "failed_active_hc")
    await picker.start()
    await _until_picker_is(client, "healthy")
    asked = len(picker.asked)
    assert (await client.ask())[0] == 200
    assert len(picker.asked) == asked + 1


async def test_a_picker_that_hangs_is_left_within_four_seconds(
    serve: Any, manifests: Any, gateway: Any
) -> None:
    """A stopped process holds its port and connections; the waiting request passes, later ones at once."""
    pool = [await serve() for _ in range(2)]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("picker.py")),
        pool[0].address,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        address = (await child.stdout.readline()).decode().strip()
        client = await gateway(manifests({"chat": [server.address for server in pool]}), picker=address)
        for _ in range(4):
            assert (await client.ask())[2]["server"] == pool[0].address
        os.kill(child.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert (await client.ask(body=b"x" * 10_000))[0] == 200
        assert time.monotonic() - began < 5.0  # 4 s and a slow machine
        served = {(await client.ask())[2]["server"] for _ in range(12)}
        assert served == {server.address for server in pool}
    finally:
        child.kill()
        await child.wait()


async def _until_picker_is(client: Any, health: str) -> None:
    """Wait for Envoy's own view of the picker, which it tells nobody who does not ask."""
    async with asyncio.timeout(10):
        while True:
            async with client.session.get(f"http://{client.runner.admin_address}/clusters") as answer:
                lines = [
                    line
                    for line in (await answer.text()).splitlines()
                    if line.startswith("picker/") and "::health_flags::" in line
                ]
            if any(f"/{health}" in line or line.endswith(f"::{health}") for line in lines):
                return
            await asyncio.sleep(0.05)
