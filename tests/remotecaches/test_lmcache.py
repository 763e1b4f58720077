"""LMCache's controller, with answers as `lmcache/v1/api_server` gives them."""

from __future__ import annotations

import asyncio

import pytest

from igw.prefix.api import Offer
from igw.remotecaches.http import AnswerError
from igw.remotecaches.lmcache import LMCacheController
from tests.remotecaches.http import COSTS, TOKENS, fake, question


def layout(**instances: tuple[str, int]) -> dict[str, object]:
    """Return an answer to `/lookup`."""
    return {"event_id": "Lookup5b7d", "layout_info": {name: list(where) for name, where in instances.items()}}


async def test_an_instance_has_what_is_in_its_memory_and_on_its_disk() -> None:
    """It alone, without P2P; what is in a remote backend all have."""
    answer = layout(e1=("LocalCPUBackend", 256), e2=("LocalDiskBackend", 512), e3=("RemoteBackend", 384))
    async with fake(lookup=answer) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: 0.0, peers=False)
        assert list(await controller.offers(question())) == [
            Offer(256, "cpu", COSTS["cpu"], to="10.0.0.1:8000"),
            Offer(512, "disk", COSTS["disk"], to="10.0.0.2:8000"),
            Offer(384, "remote", COSTS["remote"]),
        ]
        assert cache.asked == [("/lookup", {"tokens": TOKENS})]


async def test_with_peers_all_can_have_what_one_has() -> None:
    """At the network's cost; engines find each other by the controller, so nobody is named."""
    async with fake(lookup=layout(e1=("LocalCPUBackend", 256))) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: 0.0, peers=True)
        assert list(await controller.offers(question())) == [
            Offer(256, "cpu", COSTS["cpu"], to="10.0.0.1:8000"),
            Offer(256, "peer", COSTS["peer"]),
        ]


async def test_an_instance_of_another_name_is_found_by_the_address_of_its_endpoint() -> None:
    """The controller is asked for each, beside the request; it answers 500 where nobody is."""

    def who(body: dict[str, str]) -> object:
        return {"event_id": body["event_id"], "res": "lmcache_2"} if body["ip"] == "10.0.0.2" else 500

    async with fake(lookup=layout(lmcache_2=("LocalCPUBackend", 256)), query_instance=who) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: 0.0, peers=False)
        assert not await controller.offers(question())
        assert controller._asking is not None
        await controller._asking
        assert [offer.to for offer in await controller.offers(question())] == ["10.0.0.2:8000"]
        asked = [body["ip"] for path, body in cache.asked if path == "/query_instance"]
        assert asked == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        await controller.close()


async def test_who_is_who_is_asked_once_a_minute_at_most() -> None:
    """However many requests meet an unknown instance."""
    seconds = iter((0.0, 59.0, 60.0))
    async with fake(lookup=layout(other=("LocalCPUBackend", 256)), query_instance=500) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: next(seconds), peers=False)
        for expected in (3, 3, 6):
            await controller.offers(question())
            assert controller._asking is not None
            await controller._asking
            assert sum(path == "/query_instance" for path, _ in cache.asked) == expected


async def test_a_question_under_way_ends_with_the_controller() -> None:
    """Nothing is left running."""
    async with fake(lookup=layout(other=("LocalCPUBackend", 256)), query_instance=500) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: 0.0, peers=False)
        await controller.offers(question())
        await controller.close()
        assert [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_ask"] == []  # type: ignore[union-attr]


async def test_nothing_is_asked_about_text_and_an_error_is_no_answer() -> None:
    """The controller answers 500 with its reason."""
    async with fake(lookup=500) as (cache, client):
        controller = LMCacheController(client, cache.url, COSTS, lambda: 0.0, peers=False)
        assert not await controller.offers(question(tokens=None))
        assert not cache.asked
        with pytest.raises(AnswerError, match="/lookup answered 500"):
            await controller.offers(question())
