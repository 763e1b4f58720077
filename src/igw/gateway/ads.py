"""Offers snapshots to Envoy over one aggregated stream and tells when it took or refused them.

State of the world (xDS REST and gRPC protocol, ADS). What a snapshot holds is decided in `igw.gateway.translate`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from igw.gateway.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Resources, XdsSnapshot

_WILDCARD = (CLUSTER, LISTENER)
"""Types of which Envoy wants all there are; of the others it names those it wants."""


class XdsRejected(Exception):
    """Envoy refused resources of one type; what it had before stays in force."""

    def __init__(self, type_url: str, detail: str) -> None:
        super().__init__(f"Envoy refuses {type_url.rpartition('.')[2]}: {detail}")
        self.type_url = type_url
        self.detail = detail


class _Offer:
    """The resources of one type that every stream is to have, and the version that names them."""

    def __init__(self) -> None:
        self.version = 0
        self.resources: Resources = {}


class _Subscription:
    """What one stream wants of one type, what it was sent last, and what it made of it."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.nonce = ""
        self.sent = 0
        self.accepted = False
        self.asked = True
        self.refused: tuple[int, str] | None = None


class _Stream:
    """One connected Envoy."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, _Subscription] = {}
        self.wake = asyncio.Event()

    def heard(self, request: discovery_pb2.DiscoveryRequest) -> None:
        """Take in a request: a first subscription, an acceptance, a refusal, or other names."""
        subscription = self.subscriptions.setdefault(request.type_url, _Subscription())
        if request.response_nonce != subscription.nonce:
            return  # about an answer that has been followed by another
        if request.HasField("error_detail"):
            subscription.refused = (subscription.sent, request.error_detail.message)
        else:
            subscription.accepted = bool(subscription.nonce)
        names = frozenset(request.resource_names)
        subscription.asked = subscription.asked or bool(names - subscription.names)
        subscription.names = names
        self.wake.set()


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """The configuration server of one Envoy (or several of the same kind).

    One task at a time changes the offers (`apply` holds a lock); streams only read them.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = f"{host}:{port}"
        self._offers = {type_url: _Offer() for type_url in TYPES}
        self._streams: set[_Stream] = set()
        self._changed = asyncio.Condition()
        self._applying = asyncio.Lock()
        self._current = XdsSnapshot({})
        self.port = 0
        """The port it listens on, once started."""

    async def start(self) -> None:
        """Listen; `RuntimeError` where the port cannot be had."""
        self._server = grpc.aio.server()
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(self._address)
        await self._server.start()

    async def stop(self) -> None:
        """End all streams and close the port."""
        await self._server.stop(None)

    async def apply(self, snapshot: XdsSnapshot) -> None:
        """Make *snapshot* what Envoy runs on; return once it has taken everything.

        Make before break: clusters and their endpoints are added, then listeners and routes change, then what nothing
        names any more goes, and endpoints change (an endpoint that were taken back too early would have to prove
        its health again). Raises `XdsRejected` where Envoy refuses; it is then offered again what it
        had. Waits as long as no Envoy is connected.
        """
        async with self._applying:
            before = self._current
            try:
                await self._offer(
                    {
                        CLUSTER: {**before.of(CLUSTER), **snapshot.of(CLUSTER)},
                        ENDPOINTS: {**snapshot.of(ENDPOINTS), **before.of(ENDPOINTS)},
                    }
                )
                await self._offer({LISTENER: snapshot.of(LISTENER), ROUTES: snapshot.of(ROUTES)})
                # All types, though two have changed: an Envoy that came meanwhile has taken none of them.
                await self._offer({type_url: snapshot.of(type_url) for type_url in TYPES})
            except BaseException:
                self._set({type_url: before.of(type_url) for type_url in TYPES})
                raise
            self._current = snapshot

    async def _offer(self, resources: Mapping[str, Resources]) -> None:
        self._set(resources)
        async with self._changed:
            await self._changed.wait_for(lambda: self._settled(resources))

    def _set(self, wanted: Mapping[str, Resources]) -> None:
        changed = {
            type_url
            for type_url, resources in wanted.items()
            if resources != self._offers[type_url].resources
        }
        # A cluster or a listener that changes asks anew for what it names, in a way that cannot be told from an
        # acceptance: it is sent again without being asked.
        changed |= {
            named for naming, named in ((CLUSTER, ENDPOINTS), (LISTENER, ROUTES)) if naming in changed
        }
        for type_url in changed:
            offer = self._offers[type_url]
            offer.resources = wanted.get(type_url, offer.resources)
            offer.version += 1
        for stream in self._streams:
            stream.wake.set()

    def _settled(self, types: Iterable[str]) -> bool:
        """Return whether every stream has taken what is offered of *types*; raise `XdsRejected` if one refuses."""
        for stream in self._streams:
            for type_url, subscription in stream.subscriptions.items():
                refused = subscription.refused
                if refused is not None and refused[0] == self._offers[type_url].version:
                    raise XdsRejected(type_url, refused[1])
        return bool(self._streams) and all(
            self._has(stream, name) for stream in self._streams for name in types
        )

    def _has(self, stream: _Stream, type_url: str) -> bool:
        offer, subscription = self._offers[type_url], stream.subscriptions.get(type_url)
        if type_url not in _WILDCARD and not offer.resources:
            return True
        if subscription is None or subscription.asked or not subscription.accepted:
            return False
        if subscription.sent < offer.version:
            return False
        return type_url in _WILDCARD or offer.resources.keys() <= subscription.names

    async def StreamAggregatedResources(  # noqa: N802 - the name is the protocol's
        self, request_iterator: AsyncIterator[discovery_pb2.DiscoveryRequest], context: Any
    ) -> None:
        """Serve one Envoy until it hangs up."""
        stream = _Stream()
        self._streams.add(stream)
        writer = asyncio.create_task(self._write(stream, context))
        try:
            async for request in request_iterator:
                stream.heard(request)
                async with self._changed:
                    self._changed.notify_all()
        finally:
            self._streams.discard(stream)
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            async with self._changed:
                self._changed.notify_all()

    async def _write(self, stream: _Stream, context: Any) -> None:
        while True:
            await stream.wake.wait()
            stream.wake.clear()
            for type_url in TYPES:
                subscription, offer = stream.subscriptions.get(type_url), self._offers[type_url]
                if subscription is None or not offer.version:
                    continue  # nothing to say yet; an empty answer would mean that there is nothing
                if subscription.asked or subscription.sent < offer.version:
                    await context.write(self._response(type_url, subscription, offer))

    @staticmethod
    def _response(
        type_url: str, subscription: _Subscription, offer: _Offer
    ) -> discovery_pb2.DiscoveryResponse:
        subscription.asked = subscription.accepted = False
        subscription.sent = offer.version
        subscription.nonce = str(int(subscription.nonce or 0) + 1)
        response = discovery_pb2.DiscoveryResponse(
            version_info=str(offer.version), type_url=type_url, nonce=subscription.nonce
        )
        for name, message in offer.resources.items():
            if type_url in _WILDCARD or name in subscription.names:
                response.resources.add().Pack(message)
        return response
