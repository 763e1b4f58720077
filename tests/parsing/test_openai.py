"""OpenAI's JSON APIs of texts: what is found beside model and prompt, and which field wins."""

from __future__ import annotations

from typing import Any

import pytest

from igw.errors import BadRequest
from tests.parsing.samples import asked, text

CONTENT: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/v1/conversations": {"items": [{"type": "message", "role": "user", "content": "hi"}]},
    "/v1/chat/completions/render": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions/render": {"model": "m", "prompt": "hi"},
}


@pytest.mark.parametrize("path", CONTENT)
def test_an_api_is_named_by_the_end_of_its_path(path: str) -> None:
    """And the model's place is in the body, where one is named."""
    request = asked(path, **CONTENT[path])
    assert request.api == path.removeprefix("/v1/")
    assert (request.model_value is None) == ("model" not in CONTENT[path])


@pytest.mark.parametrize(
    ("path", "fields", "most"),
    [
        ("/v1/chat/completions", {"max_completion_tokens": 7, "max_tokens": 9}, 7),
        ("/v1/chat/completions", {"max_tokens": 9, "max_output_tokens": 5}, 9),
        ("/v1/chat/completions", {"max_completion_tokens": 0, "max_tokens": 9}, 0),
        ("/v1/chat/completions", {"max_completion_tokens": None}, None),
        ("/v1/completions", {"max_tokens": 9, "max_completion_tokens": 7}, 9),
        ("/v1/responses", {"max_output_tokens": 5, "max_tokens": 9}, 5),
        ("/v1/embeddings", {"max_tokens": 9}, None),
    ],
)
def test_each_api_has_its_own_cap(path: str, fields: dict[str, Any], most: int | None) -> None:
    """By upstream's precedence; fields of other APIs do not count."""
    assert asked(path, **CONTENT[path], **fields).max_output_tokens == most


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        ({}, ""),
        ({"previous_response_id": "r1"}, "r1"),
        ({"previous_response_id": "r1", "prompt_cache_key": "k"}, "k"),
        ({"conversation": "c1", "prompt_cache_key": "k"}, "c1"),
        ({"conversation": {"id": "c2"}}, "c2"),
        ({"conversation": None}, ""),
    ],
)
def test_a_session_is_what_stays_the_same_from_turn_to_turn(fields: dict[str, Any], session: str) -> None:
    """A conversation before a key before the last answer."""
    assert asked("/v1/responses", model="m", input="q", **fields).session == session


@pytest.mark.parametrize(("tools", "has"), [([{"type": "function"}], True), ([], False), (None, False)])
def test_tools_are_noticed(tools: Any, has: bool) -> None:
    """An empty list is none."""
    assert asked("/v1/responses", model="m", input="q", tools=tools).has_tools == has


@pytest.mark.parametrize("path", ["/v1/chat/completions/render", "/v1/completions/render"])
def test_what_is_only_rendered_is_no_work(path: str) -> None:
    """It leaves nothing in a cache either."""
    request = asked(path, **CONTENT[path])
    assert (request.model, request.prompt) == ("m", ())


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/v1/chat/completions", {"model": "m", "messages": []}, "`messages` in the request body is empty"),
        ("/v1/conversations", {"items": []}, "`items` in the request body is empty"),
        ("/v1/conversations", {}, "`items` not found"),
        ("/v1/embeddings", {"model": "m"}, "`input` not found"),
        ("/v1/chat/completions/render", {"model": "m"}, "`messages` not found"),
        ("/v1/completions", {"model": "m", "prompt": [1, "a"]}, "`prompt` in the request body is no list"),
        ("/v1/completions", {"model": "m", "prompt": [-1]}, "`prompt` in the request body is no list"),
        ("/v1/completions", {"model": "m", "prompt": [1 << 32]}, "`prompt` in the request body is no list"),
        ("/v1/completions", {"model": "m", "prompt": "p", "max_tokens": "5"}, r"at `\$.max_tokens`"),
        ("/v1/responses", {"model": "m", "input": "p", "conversation": 5}, r"at `\$.conversation`"),
    ],
)
def test_a_refusal_names_field_and_reason(path: str, fields: dict[str, Any], said: str) -> None:
    """As 400."""
    with pytest.raises(BadRequest, match=said):
        asked(path, **fields)


def test_embeddings_may_come_as_messages() -> None:
    """As vLLM has it for models that embed pictures."""
    assert b"look" in text(asked("/v1/embeddings", model="m", messages=[{"role": "user", "content": "look"}]))


def test_tokens_count_as_tokens() -> None:
    """Four bytes each, however many digits they have."""
    assert asked("/v1/completions", model="m", prompt=[100_000, 1]).prompt_tokens == 2
    assert asked("/v1/embeddings", model="m", input=[[1, 2], [3]]).prompt_tokens == 3
    assert (
        asked("/v1/completions", model="m", prompt=["123456", "x"]).prompt_tokens == len('["123456","x"') // 4
    )
