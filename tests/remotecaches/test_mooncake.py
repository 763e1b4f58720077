"""Mooncake Conductor's `/query`, with the answers of its documentation."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import pytest

from igw.prefix.api import FREE, Offer
from igw.remotecaches.http import AnswerError
from igw.remotecaches.mooncake import Conductor, Settings
from tests.remotecaches.http import COSTS, TOKENS, fake, question

BY_TENANT = {
    "default": {"e1": {"longest_matched": 256, "GPU": 128, "DP": {"0": 128, "1": 256}, "CPU": 256, "DISK": 0}}
}
"""RFC 1403, April 2026."""
BY_INSTANCE = {
    "instances": {
        "e1": {
            "longest_matched": 320,
            "dp": {"0": 128},
            "gpu": 128,
            "cpu": 256,
            "disk": 320,
            "rank_matches": {"0": {"gpu": 128, "cpu": 256, "disk": 320}},
        },
        "somebody-else": {
            "longest_matched": 512,
            "dp": {},
            "gpu": 512,
            "cpu": 512,
            "disk": 512,
            "rank_matches": {},
        },
        "e3": {"longest_matched": 0, "dp": {"0": 0}, "gpu": 0, "cpu": 0, "disk": 0, "rank_matches": {}},
    }
}
"""July 2026."""


async def offers(answer: Any, model: str = "m", **settings: Any) -> tuple[list[Offer], Any]:
    """Return what is made of *answer*, and what was asked."""
    async with fake(query=answer) as (cache, client):
        conductor = Conductor(client, Settings(cache.url, **settings), COSTS)
        found = list(await conductor.offers(question(model)))
        ((path, asked),) = cache.asked
        assert path == "/query"
        return found, asked


async def test_gpu_memory_is_free_and_the_pools_are_fetched_from() -> None:
    """Each count is what the tiers before it have too."""
    found, asked = await offers(BY_INSTANCE, block_tokens=64)
    where = "10.0.0.1:8000"
    assert found == [
        Offer(128, "gpu", FREE, to=where),
        Offer(256, "remote", COSTS["remote"], to=where),
        Offer(320, "disk", COSTS["disk"], to=where),
    ]
    assert asked == {
        "model": "m",
        "lora_name": "",
        "token_ids": TOKENS,
        "tenant_id": "default",
        "block_size": 64,
    }


async def test_the_older_form_is_understood() -> None:
    """By tenant, in capitals."""
    found, _ = await offers(BY_TENANT)
    assert [(offer.tokens, offer.tier) for offer in found] == [(128, "gpu"), (256, "remote")]
    assert await offers({"other": {}}) == ([], (await offers(BY_TENANT))[1])


async def test_msgpack_carries_tokens_as_little_endian_numbers() -> None:
    """As the Conductor of September 2026 wants them."""
    found, asked = await offers(BY_INSTANCE, encoding="msgpack")
    assert [offer.tokens for offer in found] == [128, 256, 320]
    assert array("i", asked["token_ids"]).tolist() == TOKENS


async def test_another_name_than_the_models_is_an_adapter() -> None:
    """Where the model's is known."""
    _, asked = await offers(BY_INSTANCE, model="sql")
    assert (asked["model"], asked["lora_name"]) == ("sql", "")
    async with fake(query=BY_INSTANCE) as (cache, client):
        await Conductor(client, Settings(cache.url, model="base"), COSTS).offers(
            question("sql", salt="tenant-7")
        )
        ((_, asked),) = cache.asked
    assert (asked["model"], asked["lora_name"], asked["cache_salt"]) == ("base", "sql", "tenant-7")


@pytest.mark.parametrize("answer", [[1], {"instances": {"e1": 7}}, b"<html>"])
async def test_an_answer_of_no_known_form_is_an_error(answer: Any) -> None:
    """Whoever asks for it counts it."""
    with pytest.raises((AnswerError, msgspec.MsgspecError)):
        await offers(answer)


async def test_nothing_is_asked_about_text_or_media() -> None:
    """The Conductor hashes tokens, and does not know of media."""
    from igw.prefix.chain import Placed

    async with fake(query=BY_INSTANCE) as (cache, client):
        conductor = Conductor(client, Settings(cache.url), COSTS)
        assert not await conductor.offers(question(tokens=None))
        assert not await conductor.offers(question(media=(Placed("cat", 0, 4),)))
        assert not cache.asked
