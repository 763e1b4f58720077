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
        return [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
                for port in ports]

    return XdsSnapshot({
        CLUSTER: {name: resource(CLUSTER, {"name": name, "type": "EDS"}) for name in clusters},
        ENDPOINTS: {name: resource(ENDPOINTS, {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts(ports)}]})
                    for name, ports in clusters.items()},
        LISTENER: {name: resource(LISTENER, {"name": name}) for name in listeners},
        ROUTES: {name: resource(ROUTES, {"name": name, "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to}}]}]})
            for name, to in listeners.items()}})


class Envoy:
    """The other side: takes what it is sent unless told to refuse, and keeps a diary."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.has: dict[str, set[str]] = {}
        self.diary: list[tuple[str, list[str]]] = []
        self.refuse: str | None = None

    async def run(self) -> None:
        """Subscribe as Envoy does, and answer until the server hangs up."""
        for type_url in WILDCARD:
            await self.call.write(discovery_pb2.DiscoveryRequest(type_url=type_url))
        while (response := await self.call.read()) is not grpc.aio.EOF:
            kind = response.type_url
            names = [self._name(kind, item) for item in response.resources]
            self.diary.append((kind, names))
            answer = discovery_pb2.DiscoveryRequest(type_url=kind, response_nonce=response.nonce,
                                                    version_info=response.version_info)
            if self.refuse == kind:
                answer.error_detail.message = "not like this"
            else:
                self.has[kind] = set(names)
            if kind not in WILDCARD:
                answer.resource_names.extend(sorted(self.wanted(kind)))
            await self.call.write(answer)
            if kind in WILDCARD and self.refuse != kind:
                named = ENDPOINTS if kind == CLUSTER else ROUTES
                if named not in self.has:  # a first subscription; later ones ride on acceptances
                    self.has[named] = set()
                    await self.call.write(discovery_pb2.DiscoveryRequest(
                        type_url=named, resource_names=sorted(self.wanted(named))))

    def wanted(self, kind: str) -> set[str]:
        """Return the names it asks for."""
        return self.has.get(CLUSTER if kind == ENDPOINTS else LISTENER, set())

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
        assert caught.value.type_url == ROUTES
        envoy.refuse = None
        await apply(server, good)
        assert envoy.has[CLUSTER] == {"a"}
        # endpoints are taken away only when everything else has been accepted
        assert (ENDPOINTS, ["a"]) in envoy.diary
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
