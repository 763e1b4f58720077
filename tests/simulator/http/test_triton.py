"""Triton's API over loopback; the model's name has a slash in it, as many have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.text import answer, tokenize
from tests.simulator.site import Site, start

MODEL = "org/demo"
WORDS = answer(tokenize("Hello"), 3)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A fast server that talks like Triton with TensorRT-LLM."""
    spec = SimulatorSpec(model=MODEL, speed=100, dialect="triton-tensorrt-llm")
    async with start(spec) as each:
        yield each


def ask(**more: Any) -> dict[str, Any]:
    """Return a body that asks for three tokens."""
    return {"text_input": "Hello", "max_tokens": 3, "bad_words": "", "stop_words": ""} | more


async def events(site: Site, body: dict[str, Any]) -> list[str]:
    """Return the text of each event of a stream."""
    async with site.http.post(f"/v2/models/{MODEL}/generate_stream", json=body) as response:
        assert response.status == 200
        *parts, end = (await response.text()).split("\n\n")
    assert end == ""
    return [json.loads(part.removeprefix("data: "))["text_output"] for part in parts]


@pytest.mark.parametrize("path", [f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/1"])
async def test_an_answer_is_the_output_of_a_model(site: Site, path: str) -> None:
    """With or without its version."""
    assert await site.post(f"{path}/generate", ask()) == (
        200,
        {
            "model_name": MODEL,
            "model_version": "1",
            "sequence_end": False,
            "sequence_id": 0,
            "sequence_start": False,
            "text_output": "".join(WORDS),
        },
    )


async def test_a_stream_has_an_event_per_token_if_asked_for(site: Site) -> None:
    """Without `stream` it is one event with everything."""
    assert await events(site, ask(stream=True)) == WORDS
    assert await events(site, ask()) == ["".join(WORDS)]


async def test_the_input_can_be_shown(site: Site) -> None:
    """As the backend does unless told otherwise."""
    _, body = await site.post(f"/v2/models/{MODEL}/generate", ask(exclude_input_in_output=False))
    assert body["text_output"] == "Hello" + "".join(WORDS)


@pytest.mark.parametrize(
    ("model", "body", "status", "message"),
    [
        ("other", ask(), 404, "Request for unknown model: 'other' is not found"),
        (MODEL, {"text_input": "Hello"}, 400, "missing required field `max_tokens`"),
        (MODEL, ask(stream=True), 400, "exactly 1 response"),
    ],
)
async def test_a_bad_request_is_one_sentence(
    site: Site, model: str, body: dict[str, Any], status: int, message: str
) -> None:
    """Under `error`."""
    found, said = await site.post(f"/v2/models/{model}/generate", body)
    assert found == status
    assert message in said["error"]


async def test_health_and_metadata_are_those_of_kserve(site: Site) -> None:
    """Version 2 of its protocol."""
    for path, status in (
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        (f"/v2/models/{MODEL}/ready", 200),
        ("/v2/models/other/ready", 400),
    ):
        async with site.http.get(path) as response:
            assert response.status == status, path
    _, server = await site.get("/v2")
    assert server["name"] == "triton"
    _, model = await site.get(f"/v2/models/{MODEL}")
    assert (model["name"], model["outputs"][0]["name"]) == (MODEL, "text_output")
    await site.post("/igw/faults", {"unready": True})
    async with site.http.get("/v2/health/ready") as response:
        assert response.status == 400
