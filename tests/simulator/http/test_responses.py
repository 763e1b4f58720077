"""The Responses API: the same conversations as chats, in its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError

from igw.simulator.http.errors import ApiError
from igw.simulator.http.responses import read
from igw.simulator.text import answer, natural_length, render_chat, tokenize
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import Site

RESPONSES = "/v1/responses"
TOOLS: list[Any] = [{"type": "function", "name": "look", "parameters": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string"}}}}]  # fmt: skip
QUESTION = {"role": "user", "content": "hello"}


def prompt(**fields: Any) -> str:
    """The prompt that a body with these fields becomes, as text."""
    call, _ = read(json.dumps(fields).encode())
    return call.prompts[0].tobytes().rstrip(b"\0").decode()


def test_the_input_is_a_text_or_a_list_of_items() -> None:
    """Both are the chat that says the same."""
    chat = render_chat([{"role": "system", "content": "Be short."}, QUESTION])
    assert prompt(input="hello", instructions="Be short.") == chat
    parts = [{"type": "input_text", "text": "hello"}]
    assert prompt(input=[{"role": "user", "content": parts}], instructions="Be short.") == chat


def test_calls_and_their_results_are_part_of_the_conversation() -> None:
    """As messages of the assistant and of the tool; thoughts are left out."""
    items = [
        QUESTION,
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a door"},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "a door"},
    ]
    assert prompt(input=items) == render_chat(messages)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"input": []}, 400, "must not be empty"),
        ({"input": "x", "max_output_tokens": 0}, 400, "max_output_tokens must be at least 1"),
        ({"input": "x", "background": True}, 400, "keeps no responses"),
        ({"input": "x", "previous_response_id": "resp_1"}, 404, "Response with id 'resp_1' not found"),
        ({"input": "x", "previous_response_id": "mine"}, 400, "begins with 'resp'"),
        ({"input": [{"type": "computer_call"}]}, 400, "'computer_call' is not simulated"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, 400, "'web_search' is not simulated"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, Any], status: int, words: str) -> None:
    """As vLLM without a store."""
    with pytest.raises(ApiError) as caught:
        read(json.dumps(fields).encode())
    assert caught.value.status == status
    assert words in caught.value.message


async def test_a_whole_answer_has_the_form_of_vllm(site: Site) -> None:
    """Cut short, as the recorded one was."""
    _, body = await site.post(RESPONSES, {"input": "hello", "max_output_tokens": 4})
    assert form(body) == form(ANSWERS["responses"])
    assert body["status"] == "incomplete"


async def test_the_sdk_gets_text_and_usage(site: Site) -> None:
    """With the cached tokens of the second request."""
    tokens = tokenize(render_chat([QUESTION]))
    for _ in range(2):
        reply = await site.openai.responses.create(model="demo", input="hello")
    assert reply.output_text == "".join(answer(tokens, natural_length(tokens)))
    assert reply.status == "completed"
    assert reply.usage is not None
    assert reply.usage.input_tokens == len(tokens)
    assert reply.usage.input_tokens_details.cached_tokens == (len(tokens) - 1) // 16 * 16


async def test_the_sdk_streams_the_whole_family_of_events(site: Site) -> None:
    """In order, numbered, the last with the whole answer."""
    stream = await site.openai.responses.create(model="demo", input="hello", max_output_tokens=3, stream=True)
    events: list[Any] = [event async for event in stream]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(11))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == "".join(answer(tokenize(render_chat([QUESTION])), 3))
    assert events[-1].response.status == "incomplete"
    assert events[-1].response.usage.output_tokens == 3


async def test_a_call_is_an_item_of_the_output(site: Site) -> None:
    """Whole and streamed."""
    ask = {"input": "hello", "tools": TOOLS, "tool_choice": {"type": "function", "name": "look"}}
    _, body = await site.post(RESPONSES, ask)
    [item] = body["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == (
        "function_call",
        "look",
        {"at": "lorem"},
    )
    events = await site.named_events(RESPONSES, ask)
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert json.loads("".join(deltas)) == {"at": "lorem"}
    assert events[-1]["response"]["output"][0]["name"] == "look"


async def test_json_is_said_when_the_text_has_a_schema(site: Site) -> None:
    """`text.format`."""
    form_ = {"type": "json_schema", "name": "x", "schema": {"type": "integer", "minimum": 7}}
    reply = await site.openai.responses.create(model="demo", input="hello", text={"format": form_})  # type: ignore[arg-type,typeddict-item]
    assert json.loads(reply.output_text) == 7


async def test_nothing_is_kept(site: Site) -> None:
    """The SDK raises its own errors."""
    with pytest.raises(NotFoundError, match="not found"):
        await site.openai.responses.retrieve("resp_1")
    with pytest.raises(BadRequestError, match="begins with 'resp'"):
        await site.openai.responses.cancel("mine")
