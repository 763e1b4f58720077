"""Who serves: picks, lists of picks, fallbacks and health, through a real Envoy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from igw.gateway.clusters import for_picker
from igw.gateway.xds import CLUSTER, resource


async def test_a_dead_first_pick_is_followed_by_the_second(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """The ordered list is walked, and the log tells how many were tried and who served."""
    dead, alive, other = await serve(), await serve(), await serve()
    client = await gateway(manifests({"chat": [dead.address, alive.address, other.address]}))
    await dead.stop()
    for _ in range(5):
        picker.decide = lambda _asked: wire.Pick(f"{dead.address},{alive.address}")
        status, _, answer = await client.ask()
        assert (status, answer["server"]) == (200, alive.address)
        log = await picker.log()
        assert (log["endpoint"], log["attempts"]) == (alive.address, "2")


async def test_a_lone_dead_pick_falls_back_to_a_ready_server(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """Even before a health check has found out."""
    dead, alive = await serve(), await serve()
    client = await gateway(manifests({"chat": [dead.address, alive.address]}))
    await dead.stop()
    picker.decide = lambda _asked: wire.Pick(dead.address)
    status, _, answer = await client.ask()
    assert (status, answer["server"]) == (200, alive.address)


async def test_a_pick_outside_the_pool_is_not_followed(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """What is not a host of the pool's cluster cannot be reached, whoever says so."""
    inside, outside = await serve(), await serve()
    client = await gateway(manifests({"chat": [inside.address]}))
    picker.decide = lambda _asked: wire.Pick(outside.address)
    _, _, answer = await client.ask()
    assert answer["server"] == inside.address


async def test_what_override_host_does_with_an_unhealthy_pick(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """The picker knows better than a health check: an unready server that was picked is asked; the fallback avoids it."""
    unready, ready = await serve(), await serve()
    unready.healthy = False
    client = await gateway(manifests({"chat": [unready.address, ready.address]}))
    picker.decide = lambda _asked: wire.Pick()
    assert {(await client.ask())[2]["server"] for _ in range(10)} == {ready.address}
    picker.decide = lambda _asked: wire.Pick(unready.address)
    assert (await client.ask())[2]["server"] == unready.address


async def test_many_requests_at_once_meet_no_circuit_breaker(
    serve: Any, manifests: Any, gateway: Any
) -> None:
    """More than Envoy's default of 1,024 requests to one pool."""
    server = await serve()
    server.pieces = [b"late"]
    client = await gateway(manifests({"chat": [server.address]}))
    client.session.connector._limit = 0
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(_status(client)) for _ in range(1_100)]
        server.gate.set()
    assert {task.result() for task in asking} == {200}


async def _status(client: Any) -> int:
    async with client.session.get(client.url + "/v1") as answer:
        await answer.read()
        return int(answer.status)


@pytest.mark.parametrize(
    ("hostport", "kind"),
    [
        ("127.0.0.1:9002", "STATIC"),
        ("[::1]:9002", "STATIC"),
        ("epp:9002", "STRICT_DNS"),
        ("10.example:1", "STRICT_DNS"),
    ],
)
def test_a_picker_may_have_a_name(hostport: str, kind: str) -> None:
    """Host names are resolved by Envoy, addresses are not."""
    cluster: Any = resource(CLUSTER, for_picker(hostport))
    assert cluster.DiscoveryType.Name(cluster.type) == kind
    assert (
        "["
        not in cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address
    )


def test_a_picker_without_a_port_is_refused() -> None:
    """The sentence says what is expected."""
    with pytest.raises(ValueError, match="'epp' is not host:port"):
        for_picker("epp")
