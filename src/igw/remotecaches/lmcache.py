"""LMCache's controller: which instance has how many leading tokens, and where.

`POST /lookup` with `{"tokens": [...]}` is answered `{"event_id": "...", "layout_info": {"<instance>": ["<location>", <tokens>]}}`;
`POST /query_instance` with `{"event_id": "...", "ip": "..."}` by `{"event_id": "...", "res": "<instance>"}` (LMCache 0.3 and 0.4,
`lmcache/v1/api_server`). Each chunk is counted for the first instance that has it, so an instance may be given tokens whose beginning another
one has: a count is how far the caches together reach. Prompts are told apart by their tokens only, not by model or adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import aiohttp
import msgspec

from igw.endpoint import Endpoint
from igw.prefix.api import Costs, Offer, Question
from igw.remotecaches.http import AnswerError, Client
from igw.remotecaches.naming import Names

_ASK_AGAIN_SECONDS = 60.0
_MOST_INSTANCES = 4096


class _Layout(msgspec.Struct):
    layout_info: dict[str, tuple[str, int]]


class _Instance(msgspec.Struct):
    res: str | None = None


_layout = msgspec.json.Decoder(_Layout).decode
_instance = msgspec.json.Decoder(_Instance).decode


class LMCacheController:
    """One controller. Instances that no endpoint is named after are found by the addresses of endpoints, which it is asked for now and then."""

    def __init__(
        self, client: Client, url: str, costs: Costs, clock: Callable[[], float], *, peers: bool
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._costs = costs
        self._clock = clock
        self._peers = peers
        self._names = Names()
        self._address_of: dict[str, str] = {}
        """Instance -> address."""
        self._ask_again_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what each instance has, for whom it can be."""
        if question.prompt is None:
            return ()
        body = msgspec.json.encode({"tokens": question.prompt.numbers()})
        layout = _layout(await self._client.post(f"{self._url}/lookup", body)).layout_info
        named = self._names.of(question.endpoints)
        found: list[Offer] = []
        for instance, (location, tokens) in layout.items():
            tier = _tier(location)
            owner = named.get(instance) or named.get(self._address_of.get(instance, ""), "")
            if tier == "remote":
                found.append(Offer(tokens, tier, self._costs[tier]))
                continue
            if not owner:
                self._find_instances(question.endpoints)
            else:
                found.append(Offer(tokens, tier, self._costs[tier], to=owner))
            if self._peers:
                found.append(Offer(tokens, "peer", self._costs["peer"]))
        return found

    async def close(self) -> None:
        """Stop asking who is who."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    def _find_instances(self, endpoints: Sequence[Endpoint]) -> None:
        """Ask beside the request, which may have no time for it."""
        now = self._clock()
        if now >= self._ask_again_at and (self._asking is None or self._asking.done()):
            self._ask_again_at = now + _ASK_AGAIN_SECONDS
            self._asking = asyncio.get_running_loop().create_task(self._ask({e.address for e in endpoints}))

    async def _ask(self, addresses: set[str]) -> None:
        for address in sorted(addresses)[:_MOST_INSTANCES]:
            body = msgspec.json.encode({"event_id": "igw", "ip": address})
            try:
                found = _instance(await self._client.post(f"{self._url}/query_instance", body)).res
            except (aiohttp.ClientError, TimeoutError, AnswerError, msgspec.DecodeError):
                continue  # it answers 500 for an address where nobody is
            if found and len(self._address_of) < _MOST_INSTANCES:
                self._address_of[found] = address


def _tier(location: str) -> str:
    """Return the tier of a storage backend by its name: `LocalCPUBackend`, `LocalDiskBackend`, `GdsBackend`, `RemoteBackend` and others."""
    if location.startswith("LocalCPU"):
        return "cpu"
    return "disk" if location.startswith(("LocalDisk", "Gds")) else "remote"
