"""The fields that chats and completions share: what they mean and how bad ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.call import Call, text_or_tokens
from igw.simulator.http.completions import read_completion
from igw.simulator.http.errors import ApiError


def completion(**fields: Any) -> Call:
    """A completion with these fields."""
    return read_completion(json.dumps({"prompt": "hello"} | fields).encode())


def test_stop_is_one_string_or_several() -> None:
    """Null is none."""
    assert completion(stop="x").stop == ("x",)
    assert completion(stop=["x", "y"]).stop == ("x", "y")
    assert completion(stop=None).stop == ()


def test_continuous_usage_needs_include_usage() -> None:
    """As in vLLM."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    call = completion(stream=True, stream_options=options)
    assert (call.include_usage, call.continuous_usage) == (True, True)
    call = completion(stream=True, stream_options=options | {"include_usage": False})
    assert (call.include_usage, call.continuous_usage) == (False, False)


def test_fields_that_change_nothing_are_accepted() -> None:
    """Clients send many; a refusal to tell probabilities is none to leave them out."""
    accepted = {"temperature": 0.5, "seed": 1, "n": 1, "unheard_of": {}, "logprobs": None, "top_logprobs": 0}
    assert completion(**accepted, echo=False) == completion()


def test_what_decides_the_answer_is_read() -> None:
    """Each field of vLLM that the simulator follows."""
    call = completion(
        n=3,
        min_tokens=2,
        ignore_eos=True,
        stop_token_ids=[7],
        include_stop_str_in_output=True,
        priority=-1,
        cache_salt="mine",
    )
    assert (call.n, call.min_tokens, call.ignore_eos, call.stop_token_ids) == (3, 2, True, (7,))
    assert (call.include_stop, call.priority, call.cache_salt) == (True, -1, "mine")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, got 0"),
        ({"min_tokens": -1}, "min_tokens", "min_tokens must be greater than or equal to 0, got -1"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens", "less than or equal to max_tokens=3, got 9"),
        ({"n": 0}, "n", "n must be at least 1, got 0"),
        ({"n": 1000}, "n", "n must be at most 128, got 1000"),
        ({"n": 2, "temperature": 0}, "n", "n must be 1 when using greedy sampling, got 2"),
        ({"stop": ""}, "stop", "empty string"),
        ({"cache_salt": ""}, "cache_salt", "non-empty string"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only be defined when `stream=True`"),
        ({"logprobs": 0}, "logprobs", "logprobs is not simulated"),
        ({"top_logprobs": 2}, "top_logprobs", "top_logprobs is not simulated"),
        ({"prompt_logprobs": 0}, "prompt_logprobs", "prompt_logprobs is not simulated"),
        ({"echo": True}, "echo", "echo is not simulated"),
        ({"use_beam_search": True}, "use_beam_search", "use_beam_search is not simulated"),
        ({"max_tokens": "many"}, "max_tokens", "Expected `int | null`"),
    ],
)
def test_a_bad_field_is_refused_and_named(fields: dict[str, Any], param: str, words: str) -> None:
    """In vLLM's error object."""
    with pytest.raises(ApiError) as caught:
        completion(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


@pytest.mark.parametrize("ids", [[-1], [2**32], [1, "x"], [], ""])
def test_token_ids_are_unsigned_numbers_of_32_bits(ids: Any) -> None:
    """And a prompt has at least one token."""
    with pytest.raises(ApiError) as caught:
        text_or_tokens(ids)
    assert caught.value.param == "prompt"
