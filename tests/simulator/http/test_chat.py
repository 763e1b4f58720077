"""Chats: read, written as vLLM writes them, and driven by the OpenAI SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.call import Call
from igw.simulator.http.chat import read_chat
from igw.simulator.http.errors import ApiError
from igw.simulator.text import answer, render_chat, tokenize
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import HELLO, HELLO_TOKENS, Site

CHAT = "/v1/chat/completions"
TOOLS: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string"}}}}}]  # fmt: skip


def chat(**fields: Any) -> Call:
    """A chat with these fields."""
    return read_chat(json.dumps({"messages": HELLO} | fields).encode())


def test_a_chat_is_rendered_and_tokenized() -> None:
    """Tools included; without max_tokens the model decides."""
    call = chat(tools=TOOLS, model="m")
    assert call.prompts == (tokenize(render_chat(HELLO, TOOLS)),)
    assert (call.model, call.max_tokens, call.stream) == ("m", None, False)


def test_max_completion_tokens_wins_over_max_tokens() -> None:
    """The older name is deprecated in chats."""
    assert chat(max_tokens=3).max_tokens == 3
    assert chat(max_tokens=3, max_completion_tokens=5).max_tokens == 5


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": []}, "messages", "must not be empty"),
        ({"messages": [{"role": ""}]}, "messages", "messages[0].role"),
        ({"messages": "x"}, "messages", "Expected `array`, got `str`"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "Expected `bool | null`"),
        ({"logprobs": True}, "logprobs", "not simulated"),
    ],
)
def test_a_bad_chat_is_refused_with_the_field_named(fields: dict[str, Any], param: str, words: str) -> None:
    """In vLLM's error object."""
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


async def test_a_whole_answer_has_the_form_of_vllm(site: Site) -> None:
    """Every key in its order, every type."""
    _, body = await site.post(CHAT, {"messages": HELLO, "max_tokens": 8})
    assert form(body) == form(ANSWERS["chat"])
    assert body["id"].startswith("chatcmpl-")
    assert body["usage"]["prompt_tokens_details"]["created_cache_tokens"] == len(HELLO_TOKENS) // 16 * 16


async def test_a_stream_has_the_form_of_vllm(site: Site) -> None:
    """The role, the words, the last word with the reason, the usage."""
    recorded = ANSWERS["chat stream"]
    events = await site.events(
        CHAT, {"messages": HELLO, "max_tokens": 4, "stream_options": {"include_usage": True}}
    )
    assert [form(event) for event in events] == [form(event) for event in recorded]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * 4 + ["length"]


async def test_several_choices_share_the_prompt_and_have_answers_of_their_own(site: Site) -> None:
    """Whole and streamed, by the SDK; the prompt counts once."""
    reply = await site.openai.chat.completions.create(model="demo", messages=HELLO, max_tokens=6, n=3)
    texts = ["".join(answer(HELLO_TOKENS, 6, number)) for number in range(3)]
    assert [choice.message.content for choice in reply.choices] == texts
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(HELLO_TOKENS), 18)
    streamed = ["", "", ""]
    async for chunk in await site.openai.chat.completions.create(
        model="demo", messages=HELLO, max_tokens=6, n=3, stream=True
    ):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


async def test_a_required_call_is_made_with_arguments_of_its_schema(site: Site) -> None:
    """The first function; vLLM ends these with `tool_calls`."""
    reply = await site.openai.chat.completions.create(
        model="demo", messages=HELLO, tools=TOOLS, tool_choice="required"
    )
    [choice] = reply.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "")
    assert choice.message.tool_calls is not None
    [made] = choice.message.tool_calls
    assert made.type == "function"
    assert (made.function.name, json.loads(made.function.arguments)) == ("look", {"at": "lorem"})


async def test_a_named_call_is_streamed_piece_by_piece(site: Site) -> None:
    """Name and id in the first piece; vLLM ends these with `stop`."""
    events = await site.events(
        CHAT,
        {
            "messages": HELLO,
            "tools": TOOLS,
            "tool_choice": {"type": "function", "function": {"name": "look"}},
        },
    )
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    calls = [delta["tool_calls"][0] for delta in deltas[1:]]
    assert calls[0]["function"]["name"] == "look"
    assert calls[0]["id"].startswith("chatcmpl-tool-")
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"at": "lorem"}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_tools_without_a_choice_are_answered_with_words(site: Site) -> None:
    """The model decides, and decides not to call."""
    _, body = await site.post(CHAT, {"messages": HELLO, "tools": TOOLS, "max_tokens": 3})
    assert "tool_calls" not in body["choices"][0]["message"]


async def test_json_is_said_when_a_schema_asks_for_it(site: Site) -> None:
    """Quotes are escaped in the chunks."""
    ask = {
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"const": 'a"b'}}},
    }
    _, body = await site.post(CHAT, ask)
    assert json.loads(body["choices"][0]["message"]["content"]) == 'a"b'
    events = await site.events(CHAT, ask)
    assert json.loads("".join(event["choices"][0]["delta"]["content"] for event in events)) == 'a"b'


async def test_pictures_count_as_placeholders_and_are_cached_by_content(site: Site) -> None:
    """256 tokens each; the same picture again is found."""

    def ask(url: str) -> dict[str, Any]:
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
        return {"messages": [{"role": "user", "content": parts}], "max_tokens": 1}

    first = (await site.post(CHAT, ask("a.png")))[1]["usage"]
    assert first["prompt_tokens_details"]["multimodal_tokens"] == 256
    assert first["prompt_tokens"] > 256
    again = (await site.post(CHAT, ask("a.png")))[1]["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] >= 256
    other = (await site.post(CHAT, ask("b.png")))[1]["usage"]
    assert other["prompt_tokens_details"]["cached_tokens"] < 32


async def test_a_salt_keeps_others_out_of_the_cache(site: Site) -> None:
    """The prompt is found under the same salt only."""

    async def cached(salt: str | None) -> int:
        _, body = await site.post(CHAT, {"messages": HELLO, "max_tokens": 1, "cache_salt": salt})
        return int(body["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert await cached("a") == 0
    assert await cached("a") > 0
    assert await cached("b") == 0
    assert await cached(None) == 0


async def test_an_adapter_answers_under_its_name_and_has_a_cache_of_its_own(site: Site) -> None:
    """As in vLLM."""
    await site.post(CHAT, {"messages": HELLO, "max_tokens": 1})
    _, body = await site.post(CHAT, {"model": "tuned", "messages": HELLO, "max_tokens": 1})
    assert body["model"] == "tuned"
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
