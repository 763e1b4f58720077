"""Anthropic's Messages API: the same conversations as chats, in its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.errors import ApiError
from igw.simulator.http.messages import error_body, read_messages
from igw.simulator.text import answer, render_chat, tokenize
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import HELLO, HELLO_TOKENS, Site

MESSAGES = "/v1/messages"
ASK: dict[str, Any] = {"model": "demo", "max_tokens": 4, "messages": HELLO}
TOOLS = [{"name": "look", "description": "around", "input_schema": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string"}}}}]  # fmt: skip


def prompt(**fields: Any) -> str:
    """The prompt that a body with these fields becomes, as text."""
    return read_messages(json.dumps(ASK | fields).encode()).prompts[0].tobytes().rstrip(b"\0").decode()


def test_the_system_prompt_comes_first() -> None:
    """A text or blocks; the line with which Claude Code would defeat every cache is left out."""
    chat = render_chat([{"role": "system", "content": "Be short."}, *HELLO])
    assert prompt(system="Be short.") == chat
    billing = {"type": "text", "text": "x-anthropic-billing-header: 0123"}
    assert prompt(system=[billing, {"type": "text", "text": "Be short."}]) == chat


def test_uses_of_tools_and_their_results_are_part_of_the_conversation() -> None:
    """As the messages of a chat; thoughts are left out."""
    conversation = [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "door"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "closed"}]},
    ]
    call = {"id": "t", "type": "function", "function": {"name": "look", "arguments": '{"at":"door"}'}}
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "content": "closed"},
    ]
    assert prompt(messages=conversation) == render_chat(messages)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"max_tokens": None}, "Expected `int`, got `null`"),
        ({"messages": []}, "messages must not be empty"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"stop_sequences": [""]}, "stop_sequences cannot contain an empty string"),
        ({"tool_choice": {"type": "often"}}, "tool_choice.type must be"),
    ],
)
def test_a_bad_body_is_refused(fields: dict[str, Any], words: str) -> None:
    """With what is wrong."""
    with pytest.raises(ApiError) as caught:
        read_messages(json.dumps(ASK | fields).encode())
    assert words in caught.value.message


async def test_a_whole_answer_has_the_form_of_vllm(site: Site) -> None:
    """And the words of the chat that says the same."""
    _, body = await site.post(MESSAGES, ASK)
    assert form(body) == form(ANSWERS["messages"])
    assert body["content"][0]["text"] == "".join(answer(HELLO_TOKENS, 4))
    assert body["stop_reason"] == "max_tokens"


async def test_usage_tells_what_was_read_from_the_cache(site: Site) -> None:
    """All input is what was read, what was written, and the rest."""
    await site.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 1})
    _, body = await site.post(MESSAGES, ASK)
    usage = body["usage"]
    assert usage["cache_read_input_tokens"] == (len(HELLO_TOKENS) - 1) // 16 * 16
    written = usage["cache_creation_input_tokens"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] + written == len(HELLO_TOKENS)


async def test_a_stream_is_anthropics_family_of_events(site: Site) -> None:
    """In order, ending with reason and usage."""
    events = await site.named_events(MESSAGES, ASK)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == len(HELLO_TOKENS)
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert text == "".join(answer(HELLO_TOKENS, 4))
    assert events[-2]["delta"] == {"stop_reason": "max_tokens"}
    assert events[-2]["usage"]["output_tokens"] == 4


async def test_a_stop_sequence_is_named(site: Site) -> None:
    """And not shown."""
    stop = answer(HELLO_TOKENS, 4)[2]
    _, body = await site.post(MESSAGES, ASK | {"stop_sequences": [stop]})
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", stop)
    assert stop not in body["content"][0]["text"]


async def test_a_tool_is_used_when_it_must_be(site: Site) -> None:
    """Whole and streamed, named or any."""
    ask = ASK | {"tools": TOOLS, "tool_choice": {"type": "any"}, "max_tokens": 99}
    _, body = await site.post(MESSAGES, ask)
    [block] = body["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "look", {"at": "lorem"})
    assert body["stop_reason"] == "tool_use"
    named = ask | {"tool_choice": {"type": "tool", "name": "look"}}
    events = await site.named_events(MESSAGES, named)
    pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"at": "lorem"}
    assert events[1]["content_block"]["name"] == "look"
    _, cut = await site.post(MESSAGES, ask | {"max_tokens": 1})
    assert (cut["content"][0]["input"], cut["stop_reason"]) == ({}, "max_tokens")


async def test_json_is_said_when_the_output_has_a_schema(site: Site) -> None:
    """`output_config.format`."""
    form_ = {"type": "json_schema", "schema": {"type": "integer", "minimum": 7}}
    _, body = await site.post(MESSAGES, ASK | {"output_config": {"format": form_}})
    assert json.loads(body["content"][0]["text"]) == 7


async def test_tokens_are_counted_without_an_answer(site: Site) -> None:
    """`/v1/messages/count_tokens`."""
    status, body = await site.post(f"{MESSAGES}/count_tokens", {"model": "demo", "messages": HELLO})
    tokens = len(tokenize(render_chat(HELLO)))
    assert (status, body) == (
        200,
        {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}},
    )


@pytest.mark.parametrize(
    ("ask", "status", "kind"),
    [
        (ASK | {"model": "nope"}, 404, "not_found_error"),
        ({"messages": HELLO}, 400, "invalid_request_error"),
    ],
)
async def test_errors_have_anthropics_form(site: Site, ask: dict[str, Any], status: int, kind: str) -> None:
    """On both routes."""
    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
        got, body = await site.post(path, ask)
        assert got == status
        assert (body["type"], body["error"]["type"]) == ("error", kind)


def test_a_server_that_is_not_ready_is_overloaded() -> None:
    """Anthropic's word for it."""
    assert json.loads(error_body(ApiError(503, "x")))["error"]["type"] == "overloaded_error"
