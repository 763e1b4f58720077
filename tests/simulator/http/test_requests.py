"""How bodies are read: what they mean and how bad ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.requests import ApiError, Call, read_chat, read_completion
from igw.simulator.text import render_chat, tokenize

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> Call:
    """A chat request with these fields."""
    return read_chat(json.dumps({"messages": HELLO} | fields).encode())


def completion(**fields: Any) -> Call:
    """A completion request with these fields."""
    return read_completion(json.dumps({"prompt": "hello"} | fields).encode())


def refused(call: Any, **fields: Any) -> dict[str, Any]:
    """The error object of a request that is refused."""
    with pytest.raises(ApiError) as caught:
        call(**fields)
    error: dict[str, Any] = json.loads(caught.value.body)["error"]
    assert error["code"] == caught.value.status == 400
    return error


def test_a_chat_is_rendered_and_tokenized() -> None:
    """Tools included; without max_tokens the model decides."""
    tools = [{"type": "function"}]
    call = chat(tools=tools, model="m")
    assert call.prompts == (tokenize(render_chat(HELLO, tools)),)
    assert (call.chat, call.model, call.max_tokens, call.stream) == (True, "m", None, False)


def test_max_completion_tokens_wins_over_max_tokens() -> None:
    """The older name is deprecated in chats."""
    assert chat(max_tokens=3).max_tokens == 3
    assert chat(max_tokens=3, max_completion_tokens=5).max_tokens == 5


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


def test_stop_is_one_string_or_several() -> None:
    """Null is none."""
    assert chat(stop="x").stop == ("x",)
    assert chat(stop=["x", "y"]).stop == ("x", "y")
    assert chat(stop=None).stop == ()


def test_continuous_usage_needs_include_usage() -> None:
    """As in vLLM."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    call = chat(stream=True, stream_options=options)
    assert (call.include_usage, call.continuous_usage) == (True, True)
    call = chat(stream=True, stream_options=options | {"include_usage": False})
    assert (call.include_usage, call.continuous_usage) == (False, False)


def test_fields_that_change_nothing_are_accepted() -> None:
    """Clients send many."""
    assert chat(temperature=0.5, ignore_eos=True, seed=1, n=1, unheard_of={}) == chat()


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, got 0"),
        ({"n": 2}, "n", "n must be 1"),
        ({"stop": ""}, "stop", "empty string"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only be defined when `stream=True`"),
        ({"messages": []}, "messages", "must not be empty"),
        ({"messages": [{"role": ""}]}, "messages", "messages[0].role"),
        ({"messages": "x"}, "messages", "Expected `array`, got `str`"),
        ({"max_tokens": "many"}, "max_tokens", "Expected `int | null`"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "Expected `bool | null`"),
    ],
)
def test_a_bad_chat_is_refused_with_the_field_named(fields: dict[str, Any], param: str, words: str) -> None:
    """In vLLM's error object."""
    error = refused(chat, **fields)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize("prompt", ["", [], [""], [[]], ["a", []]])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:
    """There would be nothing to answer."""
    assert refused(completion, prompt=prompt)["message"] == "The prompt must not be empty."


@pytest.mark.parametrize("prompt", [[1, "a"], [-1], [[2**32]]])
def test_token_ids_out_of_range_are_refused(prompt: Any) -> None:
    """Ids are unsigned 32-bit."""
    assert "token ids from 0 to 2**32 - 1" in refused(completion, prompt=prompt)["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"messages": [{"role": "\xff"}]}'])
def test_what_is_not_json_is_refused_as_vllm_does(body: bytes) -> None:
    """Type `Bad Request`, kind `json_invalid`."""
    with pytest.raises(ApiError) as caught:
        read_chat(body)
    error = json.loads(caught.value.body)["error"]
    assert (error["type"], error["code"]) == ("Bad Request", 400)
    assert error["message"].startswith("1 validation error:\n  {'type': 'json_invalid'")


def test_a_missing_field_is_named() -> None:
    """`messages` is the one nobody may leave out."""
    with pytest.raises(ApiError, match="missing required field `messages`"):
        read_chat(b'{"model": "m"}')
