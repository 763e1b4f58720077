"""Completions: read, and written as vLLM writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.call import Call
from igw.simulator.http.completions import read_completion
from igw.simulator.http.errors import ApiError
from igw.simulator.text import answer, tokenize
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import Site

COMPLETIONS = "/v1/completions"


def completion(**fields: Any) -> Call:
    """A completion with these fields."""
    return read_completion(json.dumps({"prompt": "hello"} | fields).encode())


def test_a_completion_has_sixteen_tokens_unless_told() -> None:
    """OpenAI's default."""
    assert completion().max_tokens == 16
    assert completion(max_tokens=2).max_tokens == 2


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        ("hello wo", [2]),
        (["a", "bcdef"], [1, 2]),
        ([1, 2, 3], [3]),
        ([[1, 2], [3]], [2, 1]),
        (["a", [4, 5]], [1, 2]),
    ],
)
def test_a_prompt_is_text_tokens_or_a_list_of_either(prompt: Any, lengths: list[int]) -> None:
    """As in OpenAI's API."""
    assert [len(each) for each in completion(prompt=prompt).prompts] == lengths


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"suffix": "x"}, "suffix"),
    ],
)
def test_a_bad_completion_is_refused_with_the_field_named(fields: dict[str, Any], param: str) -> None:
    """In vLLM's error object."""
    with pytest.raises(ApiError) as caught:
        completion(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


async def test_a_whole_answer_has_the_form_of_vllm(site: Site) -> None:
    """Every key in its order, every type."""
    _, body = await site.post(COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 4})
    assert form(body) == form(ANSWERS["completion"])
    assert body["id"].startswith("cmpl-")


async def test_a_stream_has_the_form_of_vllm(site: Site) -> None:
    """With the usage along the way."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = await site.events(
        COMPLETIONS, {"prompt": "Once upon a time", "max_tokens": 2, "stream_options": options}
    )
    assert [form(event) for event in events] == [form(event) for event in ANSWERS["completion stream"]]
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 2, 2]


async def test_choices_are_numbered_prompt_by_prompt(site: Site) -> None:
    """By the SDK: two prompts, two choices of each; every prompt counts once."""
    reply = await site.openai.completions.create(model="demo", prompt=["one", "other"], n=2, max_tokens=3)
    expected = [
        "".join(answer(tokenize(prompt), 3, number)) for prompt in ("one", "other") for number in (0, 1)
    ]
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in reply.choices] == expected
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 12)


async def test_names_with_quotes_stay_json(site: Site) -> None:
    """Only the words of the answer are put in unescaped."""
    headers = {"X-Request-Id": 'a"b'}
    async with site.http.post(
        COMPLETIONS, json={"prompt": "x", "max_tokens": 1, "stream": True}, headers=headers
    ) as response:
        line = await response.content.readline()
        assert json.loads(line.removeprefix(b"data: "))["id"] == 'cmpl-a"b'
        await response.read()


async def test_a_stop_token_is_named_as_the_reason(site: Site) -> None:
    """Its id, as vLLM tells it."""
    words = answer(tokenize("x"), 10)
    [token] = tokenize(words[4])
    _, body = await site.post(COMPLETIONS, {"prompt": "x", "max_tokens": 10, "stop_token_ids": [token]})
    [choice] = body["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", token)
    assert choice["text"] == "".join(words[: words.index(words[4])])
