"""TGI's own API over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.text import answer, tokenize
from tests.simulator.site import Site, start

WORDS = answer(tokenize("Hello"), 4)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A fast server that talks like TGI."""
    async with start(SimulatorSpec(model="demo", speed=100, dialect="tgi", max_model_len=4096)) as each:
        yield each


def ask(**parameters: Any) -> dict[str, Any]:
    """Return a body that asks for four tokens."""
    return {"inputs": "Hello", "parameters": {"max_new_tokens": 4} | parameters}


async def test_an_answer_is_its_text(site: Site) -> None:
    """With details when asked for."""
    assert await site.post("/generate", ask()) == (200, {"generated_text": "".join(WORDS)})
    _, body = await site.post("/generate", ask(details=True, seed=7))
    details = body["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["seed"]) == ("length", 4, 7)
    assert [token["text"] for token in details["tokens"]] == WORDS
    assert details["tokens"][0] == {
        "id": tokenize(WORDS[0])[0],
        "text": WORDS[0],
        "logprob": 0.0,
        "special": False,
    }


async def test_a_stream_has_an_event_per_token_and_the_text_in_the_last(site: Site) -> None:
    """Nothing marks its end."""
    async with site.http.post("/generate_stream", json=ask(details=True)) as response:
        *parts, end = (await response.text()).split("\n\n")
    events = [json.loads(part.removeprefix("data:")) for part in parts]
    assert end == ""
    assert [event["token"]["text"] for event in events] == WORDS
    assert [event["index"] for event in events] == [1, 2, 3, 4]
    assert [event["generated_text"] for event in events] == [None, None, None, "".join(WORDS)]
    assert events[-1]["details"] == {
        "finish_reason": "length",
        "generated_tokens": 4,
        "seed": None,
        "input_length": 2,
    }


async def test_the_root_lets_the_body_choose(site: Site) -> None:
    """A whole answer comes in a list there."""
    assert await site.post("/", ask()) == (200, [{"generated_text": "".join(WORDS)}])
    async with site.http.post("/", json=ask() | {"stream": True}) as response:
        assert (await response.text()).count("data:") == 4


async def test_the_prompt_can_be_shown_and_a_stop_sequence_is(site: Site) -> None:
    """As TGI does, unlike OpenAI's API."""
    stop = "".join(WORDS)[5:8]
    _, body = await site.post("/generate", ask(stop=[stop], return_full_text=True, details=True))
    assert body["generated_text"].startswith("Hello")
    assert body["generated_text"].endswith(stop)
    assert body["details"]["finish_reason"] == "stop_sequence"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": ""}, "must not be empty"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, "at least 1"),
        ({"inputs": "a", "parameters": {"best_of": 2}}, "best_of"),
        ({"parameters": {}}, "missing required field"),
    ],
)
async def test_a_bad_request_is_unprocessable(site: Site, body: dict[str, Any], message: str) -> None:
    """Status 422 and the type validation."""
    status, said = await site.post("/generate", body)
    assert (status, said["error_type"]) == (422, "validation")
    assert message in said["error"]


async def test_info_tells_the_limits(site: Site) -> None:
    """Of prompt, and of prompt and answer together."""
    _, info = await site.get("/info")
    limits = (info["model_id"], info["max_input_tokens"], info["max_total_tokens"])
    assert limits == ("demo", 4095, 4096)
