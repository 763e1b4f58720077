"""The official SDKs of OpenAI and Anthropic through the real Envoy and the real picker: their own code judges every answer."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from igw.simulator.http.images import png
from igw.simulator.text import answer, render_chat, tokenize
from tests.e2e.harness import MODEL, Stack, stack

HELLO: list[Any] = [{"role": "user", "content": "Hello, who are you?"}]
PICKS = "llm_d_epp_scheduler_attempts_total"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TOOL: Any = {"name": "weather", "description": "of a city", "input_schema": SCHEMA}


class Clients:
    """A running stack and its two clients, neither of which tries again."""

    def __init__(self, running: Stack, ours: openai.AsyncOpenAI, theirs: anthropic.AsyncAnthropic) -> None:
        self.stack = running
        self.openai = ours
        self.anthropic = theirs
        self._picked = 0.0

    async def started(self) -> None:
        """Return once the picker is asked: on a busy machine Envoy may take it for dead at first, and pick itself."""

        async def picks() -> bool:
            await self.openai.models.list()
            self._picked = await self.stack.metric(PICKS)
            return self._picked > 0

        await self.stack.until(picks)

    async def settled(self, requests: int) -> None:
        """Return once that many requests have been picked for and none is open; AssertionError if it never comes."""
        await self.stack.becomes("igw_reservations_open", 0)
        assert requests == await self.stack.metric(PICKS) - self._picked


@contextlib.asynccontextmanager
async def clients(folder: Path, *server_flags: str, servers: int = 1) -> AsyncIterator[Clients]:
    """Run a stack with both SDKs."""
    flags = ("--speed", "50", *server_flags)
    async with (
        stack(folder, servers=servers, server_flags=flags) as running,
        openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as ours,
        anthropic.AsyncAnthropic(base_url=running.url, api_key="none", max_retries=0) as theirs,
    ):
        made = Clients(running, ours, theirs)
        if servers:
            await made.started()
        yield made


def words(messages: list[Any], count: int) -> str:
    """Return what the simulated model answers to a chat."""
    return "".join(answer(tokenize(render_chat(messages)), count))


async def test_openai_texts(tmp_path: Path) -> None:
    """Chats, completions and responses, whole and streamed, to the letter."""
    async with clients(tmp_path, servers=2) as each:
        chat = each.openai.chat.completions
        whole = await chat.create(model=MODEL, messages=HELLO, max_tokens=6)
        stream = await chat.create(model=MODEL, messages=HELLO, max_tokens=6, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert {words(HELLO, 6)} == {whole.choices[0].message.content, "".join(pieces)}

        text = await each.openai.completions.create(model=MODEL, prompt="Once upon", max_tokens=6)
        assert "".join(answer(tokenize("Once upon"), 6)) == text.choices[0].text

        responses = each.openai.responses
        reply = await responses.create(model=MODEL, input="Hello", max_output_tokens=6)
        events = await responses.create(model=MODEL, input="Hello", max_output_tokens=6, stream=True)
        heard = [event async for event in events]
        deltas = [event.delta for event in heard if event.type == "response.output_text.delta"]
        assert {words([{"role": "user", "content": "Hello"}], 6)} == {reply.output_text, "".join(deltas)}
        assert ("response.created", "response.completed") == (heard[0].type, heard[-1].type)
        await each.settled(5)


async def test_openai_tools(tmp_path: Path) -> None:
    """Whole and streamed; the arguments are valid under the schema, and the result can be sent back."""
    async with clients(tmp_path) as each:
        chat = each.openai.chat.completions
        asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": [FUNCTION]}
        whole = await chat.create(**asked, tool_choice="required")
        (call,) = whole.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert ("weather", '{"city":"lorem"}', "tool_calls") == (
            call.function.name, call.function.arguments.replace(" ", ""), whole.choices[0].finish_reason,
        )  # fmt: skip
        async with chat.stream(**asked, tool_choice="required") as stream:
            final = await stream.get_final_completion()
        (streamed,) = final.choices[0].message.tool_calls or []
        assert call.function.arguments == streamed.function.arguments
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
        turn = [*HELLO, whole.choices[0].message.model_dump(exclude_none=True), result]
        further = await chat.create(model=MODEL, messages=turn, max_tokens=3)
        assert further.choices[0].message.content
        await each.settled(3)


async def test_openai_vectors_and_names(tmp_path: Path) -> None:
    """Embeddings, moderations, the list of models."""
    async with clients(tmp_path) as each:
        vectors = await each.openai.embeddings.create(model=MODEL, input=["one", "two"], dimensions=8)
        assert [8, 8] == [len(item.embedding) for item in vectors.data]
        judged = await each.openai.moderations.create(model=MODEL, input="be nice")
        assert 1 == len(judged.results)
        assert [MODEL] == [model.id for model in (await each.openai.models.list()).data]


async def test_openai_pictures(tmp_path: Path) -> None:
    """Drawn from words, and from words and a picture."""
    async with clients(tmp_path, "--image-step-seconds", "0") as each:
        asked: dict[str, Any] = {"model": MODEL, "prompt": "a boat", "size": "256x512"}
        drawn = await each.openai.images.generate(**asked, n=2)
        edited = await each.openai.images.edit(**asked, image=("a.png", png(1, 1, b"abc")))
        files = [base64.b64decode(item.b64_json or "") for item in (drawn.data or []) + (edited.data or [])]
        assert [(256, 512)] * 3 == [struct.unpack(">II", file[16:24]) for file in files]
        await each.settled(2)


async def test_openai_sound(tmp_path: Path) -> None:
    """What is spoken has the length of its text; what is transcribed, that of its sound. A stream ends."""
    async with clients(tmp_path) as each:
        spoken = await each.openai.audio.speech.create(
            model=MODEL, voice="alloy", input="x" * 30, response_format="wav"
        )
        with wave.open(io.BytesIO(spoken.content)) as file:
            assert 2.0 == file.getnframes() / file.getframerate()
        transcribe = each.openai.audio.transcriptions.create
        recording = ("a.wav", spoken.content)
        text = (await transcribe(model=MODEL, file=recording)).text
        assert 32 == len(text)
        assert text == await transcribe(model=MODEL, file=recording, response_format="text")
        verbose = await transcribe(model=MODEL, file=recording, response_format="verbose_json")
        assert (text, 2.0) == (verbose.text, verbose.duration)
        stream: Any = await transcribe(model=MODEL, file=recording, stream=True)
        chunks = [event.model_dump() async for event in stream]
        assert text == "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
        await each.settled(5)


async def test_anthropic_messages(tmp_path: Path) -> None:
    """Whole, streamed and counted; the same prompt as OpenAI's, so its cache is hit."""
    async with clients(tmp_path, servers=2) as each:
        messages = each.anthropic.messages
        system = "You are terse. " * 60
        asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "system": system, "max_tokens": 6}
        whole = await messages.create(**asked)
        expected = words([{"role": "system", "content": system}, *HELLO], 6)
        async with messages.stream(**asked) as stream:
            pieces = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        assert {expected} == {whole.content[0].text, "".join(pieces), final.content[0].text}  # type: ignore[union-attr]
        assert final.usage.cache_read_input_tokens
        assert final.usage.cache_read_input_tokens > 200
        assert ("max_tokens", 6) == (final.stop_reason, final.usage.output_tokens)
        counted = await messages.count_tokens(model=MODEL, messages=HELLO, system=system)
        usage = whole.usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_creation_input_tokens or 0)


async def test_anthropic_tools(tmp_path: Path) -> None:
    """Whole and streamed, and the result can be sent back."""
    async with clients(tmp_path) as each:
        messages = each.anthropic.messages
        asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": [TOOL], "max_tokens": 50}
        whole = await messages.create(**asked, tool_choice={"type": "any"})
        use = whole.content[0]
        assert use.type == "tool_use"
        assert ("weather", {"city": "lorem"}, "tool_use") == (use.name, use.input, whole.stop_reason)
        async with messages.stream(**asked, tool_choice={"type": "any"}) as stream:
            streamed = (await stream.get_final_message()).content[0]
        assert ("tool_use", use.input) == (streamed.type, streamed.input)  # type: ignore[union-attr]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
        turn: list[Any] = [
            *HELLO,
            {"role": "assistant", "content": [use.model_dump()]},
            {"role": "user", "content": [result]},
        ]
        assert (await messages.create(model=MODEL, messages=turn, max_tokens=3)).content


async def test_errors_have_the_types_that_clients_catch(tmp_path: Path) -> None:
    """Of the model server and of the picker, in the shape of either API."""
    async with clients(tmp_path) as each:
        chat, messages = each.openai.chat.completions, each.anthropic.messages
        with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1"):
            await chat.create(model=MODEL, messages=HELLO, max_tokens=0)
        with pytest.raises(openai.BadRequestError, match="`messages` not found"):
            await chat.create(model=MODEL, messages=None)  # type: ignore[call-overload]
        with pytest.raises(openai.NotFoundError, match="The model `nope` does not exist"):
            await chat.create(model="nope", messages=HELLO)
        with pytest.raises(anthropic.BadRequestError, match="max_tokens must be at least 1") as bad:
            await messages.create(model=MODEL, messages=HELLO, max_tokens=0)
        assert "invalid_request_error" == bad.value.type
        with pytest.raises(anthropic.NotFoundError, match="The model `nope` does not exist"):
            await messages.create(model="nope", messages=HELLO, max_tokens=3)
        with pytest.raises(anthropic.BadRequestError, match="`messages` not found") as own:
            await messages.create(model=MODEL, messages=None, max_tokens=3)  # type: ignore[arg-type]
        assert "invalid_request_error" == own.value.type

        await each.stack.faults(0, rules=[{"fault": "error", "status": 429}])
        with pytest.raises(openai.RateLimitError):
            await chat.create(model=MODEL, messages=HELLO)
        with pytest.raises(anthropic.RateLimitError):
            await messages.create(model=MODEL, messages=HELLO, max_tokens=3)


async def test_without_an_endpoint_both_say_that_the_service_is_unavailable(tmp_path: Path) -> None:
    """With the picker's reason."""
    async with clients(tmp_path, servers=0) as each:
        with pytest.raises(openai.InternalServerError, match="has no endpoint") as ours:
            await each.openai.chat.completions.create(model=MODEL, messages=HELLO)
        with pytest.raises(anthropic.InternalServerError, match="has no endpoint") as theirs:
            await each.anthropic.messages.create(model=MODEL, messages=HELLO, max_tokens=3)
        assert [503, 503] == [ours.value.status_code, theirs.value.status_code]
        assert isinstance(theirs.value.body, dict)
        assert "error" == theirs.value.body["type"]
