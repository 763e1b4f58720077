"""SGLang's own API over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.text import answer, tokenize
from tests.simulator.site import Site, start

PROMPT = "Tell me what a gateway does. " * 8


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A fast server that talks like SGLang."""
    async with start(SimulatorSpec(model="demo", speed=100, dialect="sglang")) as each:
        yield each


async def test_an_answer_has_text_ids_and_counts(site: Site) -> None:
    """In `meta_info`, from where gateways take usage."""
    ask = {"text": PROMPT, "sampling_params": {"max_new_tokens": 5}, "rid": "r1"}
    await site.post("/generate", ask)
    status, body = await site.post("/generate", ask)
    words = answer(tokenize(PROMPT), 5)
    assert status == 200
    assert body["text"] == "".join(words)
    assert body["output_ids"] == [tokenize(word)[0] for word in words]
    assert body["meta_info"] == {
        "id": "r1",
        "finish_reason": {"type": "length", "length": 5},
        "prompt_tokens": 58,
        "weight_version": "default",
        "completion_tokens": 5,
        "cached_tokens": 48,
    }


async def test_a_stream_repeats_the_text_so_far(site: Site) -> None:
    """The reason comes with the last token only."""
    ids = list(tokenize(PROMPT))
    events = await site.events("/generate", {"input_ids": ids, "sampling_params": {"max_new_tokens": 3}})
    words = answer(tokenize(PROMPT), 3)
    assert [event["text"] for event in events] == ["".join(words[:count]) for count in (1, 2, 3)]
    assert [event["meta_info"]["completion_tokens"] for event in events] == [1, 2, 3]
    assert [event["meta_info"]["finish_reason"] is None for event in events] == [True, True, False]


async def test_several_prompts_give_a_list(site: Site) -> None:
    """Also with one prompt and several choices."""
    _, body = await site.post("/generate", {"text": ["one", "two"], "sampling_params": {"max_new_tokens": 2}})
    assert ["".join(answer(tokenize(each), 2)) for each in ("one", "two")] == [each["text"] for each in body]
    _, body = await site.post("/generate", {"text": "one", "sampling_params": {"max_new_tokens": 2, "n": 2}})
    assert len(body) == 2


async def test_an_extra_key_keeps_caches_apart(site: Site) -> None:
    """It is what other engines call a cache salt."""
    cached = []
    for key in ("a", "b", "a"):
        ask = {"text": PROMPT, "sampling_params": {"max_new_tokens": 1}, "extra_key": key}
        _, body = await site.post("/generate", ask)
        cached.append(body["meta_info"]["cached_tokens"])
    assert cached == [0, 0, 48]


async def test_a_stop_string_is_told(site: Site) -> None:
    """As what matched."""
    stop = "".join(answer(tokenize("one"), 6))[9:12]
    _, body = await site.post(
        "/generate", {"text": "one", "sampling_params": {"max_new_tokens": 6, "stop": stop}}
    )
    assert body["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({}, "Either text, input_ids"),
        ({"text": "a", "input_ids": [1]}, "Either text, input_ids"),
        ({"text": "a", "return_logprob": True}, "return_logprob is not simulated"),
        ({"text": ""}, "must not be empty"),
        ({"text": 5}, "Expected"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(site: Site, ask: dict[str, object], message: str) -> None:
    """Status 400."""
    status, body = await site.post("/generate", ask)
    assert status == 400
    assert message in body["error"]["message"]


async def test_the_model_and_the_server_tell_of_themselves(site: Site) -> None:
    """Under the older and the newer names."""
    for path in ("/get_model_info", "/model_info"):
        _, info = await site.get(path)
        assert (info["model_path"], info["is_generation"]) == ("demo", True)
    _, info = await site.get("/get_server_info")
    assert (info["page_size"], info["max_running_requests"]) == (16, 256)


async def test_the_cache_can_be_flushed(site: Site) -> None:
    """What was cached is computed again."""
    ask = {"text": PROMPT, "sampling_params": {"max_new_tokens": 1}}
    await site.post("/generate", ask)
    async with site.http.post("/flush_cache") as response:
        assert response.status == 200
    _, body = await site.post("/generate", ask)
    assert body["meta_info"]["cached_tokens"] == 0
