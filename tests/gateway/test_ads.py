"""The configuration server, talked to as Envoy talks: order, acceptance, refusal, reconnection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from igw.gateway.ads import AdsServer, XdsRejected
from igw.gateway.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, XdsSnapshot, resource

WILDCARD = (CLUSTER, LISTENER)


def snapshot(clusters: dict[str, list[int]], listeners: dict[str, str]) -> XdsSnapshot:
    """Return clusters with endpoints on ports, and listeners whose routes lead to a cluster."""

    def hosts(ports: list[int]) -> list[dict[str, Any]]:
        return [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in ports
        ]

    return XdsSnapshot(
        {
            CLUSTER: {name: resource(CLUSTER, {"name": name, "type": "EDS"}) for name in clusters},
            ENDPOINTS: {
                name: resource(
                    ENDPOINTS, {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts(ports)}]}
                )
                for name, ports in clusters.items()
            },
            LISTENER: {name: resource(LISTENER, {"name": name}) for name in listeners},
            ROUTES: {
                name: resource(
                    ROUTES,
                    {
                        "name": name,
                        "virtual_hosts": [
                            {
                                "name": "all",
                                "domains": ["*"],
                                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to}}],
                            }
                        ],
                    },
                )
                for name, to in listeners.items()
            },
        }
    )


class Envoy:
    """The other side: takes what it is sent unless told to refuse, and keeps a diary."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.has: dict[str, set[str]] = {}
        self.diary: list[tuple[str, list[str]]] = []
        self.refuse: str | None = None
        self.mute = False
        self.muted = asyncio.Event()

    async def run(self) -> None:
        """Subscribe as Envoy does, and answer until the server hangs up."""
        last = {kind: discovery_pb2.DiscoveryRequest(type_url=kind) for kind in WILDCARD}
        for request in last.values():
            await self.call.write(request)
        while (response := await self.call.read()) is not grpc.aio.EOF:
            if self.mute:
                self.muted.set()
                continue
            kind = response.type_url
            names = [self._name(kind, item) for item in response.resources]
            self.diary.append((kind, names))
            answer = discovery_pb2.DiscoveryRequest(
                type_url=kind, response_nonce=response.nonce, version_info=response.version_info
            )
            if self.refuse == kind:
                self.refuse = None
                answer.error_detail.message = "not like this"
            elif kind in WILDCARD:
                self.has[kind] = set(names)
            else:  # what is not mentioned stays, what nobody names any more goes
                self.has[kind] = (self.has.get(kind, set()) | set(names)) & self.wanted(kind)
            last[kind] = answer
            answer.resource_names.extend(sorted(self.wanted(kind)))
            await self.call.write(answer)
            named = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}.get(kind)
            if named is not None:
                request = last.setdefault(named, discovery_pb2.DiscoveryRequest(type_url=named))
                if set(request.resource_names) != self.wanted(named):
                    self.has[named] = self.has.get(named, set()) & self.wanted(named)
                    request.resource_names[:] = sorted(self.wanted(named))
                    await self.call.write(request)

    def wanted(self, kind: str) -> set[str]:
        """Return the names it asks for."""
        naming = {ENDPOINTS: CLUSTER, ROUTES: LISTENER}.get(kind, "")
        return self.has.get(naming, set())

    @staticmethod
    def _name(kind: str, item: Any) -> str:
        message = resource(kind, {})
        item.Unpack(message)
        return str(message.cluster_name if kind == ENDPOINTS else message.name)  # type: ignore[attr-defined]


@pytest.fixture
async def server() -> AsyncIterator[AdsServer]:
    """A configuration server on a free port."""
    server = AdsServer()
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def connected(server: AdsServer) -> AsyncIterator[Envoy]:
    """Connect an Envoy."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        envoy = Envoy(call)
        task = asyncio.create_task(envoy.run())
        try:
            yield envoy
        finally:
            call.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def apply(server: AdsServer, wanted: XdsSnapshot) -> None:
    """Apply within a test's patience."""
    async with asyncio.timeout(10):
        await server.apply(wanted)


async def test_a_new_cluster_comes_before_its_route_and_an_old_one_goes_after(server: AdsServer) -> None:
    """Make before break: at no moment does a route name a cluster that is not there."""
    async with connected(server) as envoy:
        await apply(server, snapshot({"old": [1]}, {"web": "old"}))
        assert envoy.has == {CLUSTER: {"old"}, ENDPOINTS: {"old"}, LISTENER: {"web"}, ROUTES: {"web"}}
        del envoy.diary[:]
        await apply(server, snapshot({"new": [2]}, {"web": "new"}))
        clusters = [(kind, names) for kind, names in envoy.diary if kind in (CLUSTER, ROUTES)]
        assert clusters == [(CLUSTER, ["old", "new"]), (ROUTES, ["web"]), (CLUSTER, ["new"])]
        assert envoy.has[CLUSTER] == {"new"}


async def test_an_edit_of_endpoints_sends_endpoints_only(server: AdsServer) -> None:
    """Clusters, listeners and routes are left in peace."""
    async with connected(server) as envoy:
        await apply(server, snapshot({"a": [1]}, {"web": "a"}))
        del envoy.diary[:]
        await apply(server, snapshot({"a": [1, 2]}, {"web": "a"}))
        assert [kind for kind, _ in envoy.diary] == [ENDPOINTS]
        await apply(server, snapshot({"a": [1, 2]}, {"web": "a"}))
        assert len(envoy.diary) == 1


async def test_a_refusal_is_raised_and_what_was_good_is_offered_again(server: AdsServer) -> None:
    """The error has Envoy's words; afterwards edits work as before."""
    async with connected(server) as envoy:
        good = snapshot({"a": [1]}, {"web": "a"})
        await apply(server, good)
        envoy.refuse = ROUTES
        with pytest.raises(XdsRejected, match="Envoy refuses RouteConfiguration: not like this") as caught:
            await apply(server, snapshot({"a": [], "b": [2]}, {"web": "b"}))
        await apply(server, good)
        assert caught.value.type_url == ROUTES
        assert envoy.has[CLUSTER] == {"a"}
        await apply(server, snapshot({"b": [2]}, {"web": "b"}))
        assert envoy.has == {CLUSTER: {"b"}, ENDPOINTS: {"b"}, LISTENER: {"web"}, ROUTES: {"web"}}


async def test_an_envoy_that_connects_later_or_again_gets_the_present_state(server: AdsServer) -> None:
    """Applying waits for the first; the second gets everything at once."""
    applying = asyncio.create_task(apply(server, snapshot({"a": [1]}, {"web": "a"})))
    async with connected(server) as first:
        await applying
        assert first.has[ROUTES] == {"web"}
    async with connected(server) as second:
        await apply(server, snapshot({"a": [1, 2]}, {"web": "a"}))
        assert second.has == {CLUSTER: {"a"}, ENDPOINTS: {"a"}, LISTENER: {"web"}, ROUTES: {"web"}}


async def test_applying_waits_for_an_envoy_that_takes_the_place_of_one_that_leaves_meanwhile(
    server: AdsServer,
) -> None:
    """The one that leaves had taken the routes already; the one that comes must take them, too."""
    async with connected(server) as first:
        await apply(server, snapshot({"a": [1]}, {"web": "a"}))
        first.mute = True
        applying = asyncio.create_task(apply(server, snapshot({"a": [1, 2]}, {"web": "a"})))
        await first.muted.wait()
    async with connected(server) as second:
        await applying
        assert second.has == {CLUSTER: {"a"}, ENDPOINTS: {"a"}, LISTENER: {"web"}, ROUTES: {"web"}}


async def test_listeners_come_and_go(server: AdsServer) -> None:
    """Their routes with them."""
    async with connected(server) as envoy:
        await apply(server, snapshot({"a": [1]}, {"one": "a"}))
        await apply(server, snapshot({"a": [1]}, {"one": "a", "two": "a"}))
        assert envoy.has[LISTENER] == envoy.has[ROUTES] == {"one", "two"}
        await apply(server, snapshot({"a": [1]}, {"two": "a"}))
        assert envoy.has[LISTENER] == {"two"}
        await apply(server, snapshot({}, {}))
        assert envoy.has[LISTENER] == envoy.has[CLUSTER] == set()
