"""Who serves: picks, lists of picks, fallbacks and health, through a real Envoy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from igw.discovery.snapshot import pools
from igw.gateway.clusters import assignment, for_picker
from igw.gateway.settings import GatewaySettings
from igw.gateway.translate import translate
from igw.gateway.xds import CLUSTER, ROUTES, resource


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
    cluster: Any = resource(CLUSTER, for_picker(hostport, GatewaySettings()))
    assert cluster.DiscoveryType.Name(cluster.type) == kind
    assert (
        "["
        not in cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address
    )


def test_a_picker_without_a_port_is_refused() -> None:
    """The sentence says what is expected."""
    with pytest.raises(ValueError, match="'epp' is not host:port"):
        for_picker("epp", GatewaySettings())


UPDATES = "x-igw-queue-updates"


async def test_a_waiting_room_gets_what_is_picked_for_it_and_nothing_else(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """It is a host of the pool to which nothing falls back, not even when no other is ready."""
    server, room = await serve(), await serve()
    client = await gateway(manifests({"chat": [server.address]}), waiting_room=room.address)
    picker.decide = lambda _asked: wire.Pick(room.address, {"x-igw-waiting-room": "token"})
    status, _, answer = await client.ask(headers={UPDATES: "true", "x-igw-waiting-room": "the client's"})
    assert (status, answer["server"]) == (200, room.address)
    assert answer["headers"]["x-igw-waiting-room"] == "token"
    assert UPDATES not in answer["headers"]
    assert picker.asked[-1].headers[UPDATES] == "true"
    assert "x-igw-waiting-room" not in picker.asked[-1].headers
    picker.decide = lambda _asked: wire.Pick()
    assert {(await client.ask())[2]["server"] for _ in range(10)} == {server.address}
    await server.stop()
    status, _, _ = await client.ask()
    assert status == 503


async def test_where_there_is_no_waiting_room_the_picker_hears_of_nobody_who_wants_one(
    serve: Any, picker: Any, manifests: Any, gateway: Any
) -> None:
    """Else it might send requests where Envoy would not follow."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    await client.ask(headers={UPDATES: "true"})
    assert UPDATES not in picker.asked[-1].headers


async def test_a_pool_of_http2_has_no_waiting_room(manifests: Any) -> None:
    """That speaks HTTP/1.1."""
    settings = GatewaySettings(waiting_room="127.0.0.1:9005", pickers={"default/other": "127.0.0.1:9102"})
    objects = manifests({"plain": ["10.0.0.1:8000"], "other": ["10.0.0.2:8000"]})
    hosts = {
        pool.key: len(assignment(pool, pools(objects)[pool.key], settings)["endpoints"][0]["lb_endpoints"])
        for pool in objects.pools
    }
    assert hosts == {"default/plain": 2, "default/other": 1}  # the other's picker is another one
    (grpc,) = manifests({"grpc": ["10.0.0.1:8000"]}, protocol="kubernetes.io/h2c").pools
    assert settings.waiting_room_of(grpc.key, http2=True) == ""
    snapshot = translate(manifests({"grpc": ["10.0.0.1:8000"]}, protocol="kubernetes.io/h2c"), settings)
    (routes,) = snapshot.of(ROUTES).values()
    assert UPDATES in str(routes.virtual_hosts[0].routes[-1].route.weighted_clusters)
