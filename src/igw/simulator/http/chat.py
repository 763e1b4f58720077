"""`/v1/chat/completions`: read and written as vLLM 0.32 does, field by field.

Chunks are encoded but for the word in their middle when a request begins: a busy server writes thousands a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate
from igw.simulator.http.call import Call, Sampling, call
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.stream import DONE, FINGERPRINT, chunk_start, usage_and_done
from igw.simulator.http.structured import said_by
from igw.simulator.http.usage import Ended, counts, running_usage, whole_usage
from igw.simulator.serving import Serving
from igw.simulator.text import media_tokens, render_chat, tokenize

_CHUNK = "chat.completion.chunk"

_encode = msgspec.json.encode


class ChatRequest(Sampling, frozen=True, kw_only=True):
    """A body of `/v1/chat/completions`."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    max_completion_tokens: int | None = None


_decoder = msgspec.json.Decoder(ChatRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""

    async def chat(request: web.Request) -> web.StreamResponse:
        return await generate(serving, request, read, "chatcmpl-")

    return [web.post("/v1/chat/completions", chat)]


def read(body: bytes) -> tuple[Call, Callable[[Head, list[Choice]], ChatWriter]]:
    """Return what a body asks for and who words the answer."""
    asked = read_chat(body)
    return asked, partial(ChatWriter, asked)


def read_chat(body: bytes) -> Call:
    """Return what a body asks for; ApiError 400 for a bad one."""
    return chat_call(decode(_decoder, body))


def chat_call(request: ChatRequest) -> Call:
    """Return what a chat asks for; the other APIs of conversations come through here too."""
    if not request.messages:
        raise ApiError(400, "messages must not be empty.", param="messages")
    try:
        prompt = tokenize(render_chat(request.messages, request.tools))
    except ValueError as error:
        raise ApiError(400, f"{error}.", param="messages") from error
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    said = said_by(request.response_format, request.structured_outputs, request.tools, request.tool_choice)
    return call(request, (prompt,), limit, media_tokens=media_tokens(request.messages), said=said)


class ChatWriter:
    """Words the answer to one chat."""

    def __init__(self, asked: Call, head: Head, choices: list[Choice]) -> None:
        self._call = asked
        self._head = head
        self._chunks = (
            {choice.sequence.id: _Chunks(asked, head, choice) for choice in choices} if (asked.stream) else {}
        )

    def whole(self, ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        details = self._details(ended)
        if details is not None:
            details["multimodal_tokens"] = self._call.media_tokens or None
        return _encode(
            {
                "id": self._head.id,
                "object": "chat.completion",
                "created": self._head.created,
                "model": self._head.model,
                "choices": [self._choice(choice) for choice, _ in ended],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": whole_usage(ended, details),
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "prompt_text": None,
                "kv_transfer_params": self._head.kv_transfer_params,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def opening(self) -> bytes:
        """Return nothing: the role comes with the first token."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the chunk of one token, after the role when it is the first."""
        return self._chunks[emission.sequence.id].token(emission)

    def closing(self, ended: Ended) -> bytes:
        """Return the usage if it was asked for, and the end."""
        if not self._call.include_usage:
            return DONE
        return usage_and_done(self._head, _CHUNK, ended, self._details(ended))

    def _details(self, ended: Ended) -> dict[str, Any] | None:
        if not self._head.details:
            return None
        tokens, size = counts(ended), self._head.block_size
        return {
            "cached_tokens": tokens.cached,
            "created_cache_tokens": tokens.prompt // size * size - tokens.cached,
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        if self._call.tool:
            function = {"name": self._call.tool, "arguments": choice.text}
            message |= {
                "content": "",
                "tool_calls": [{"id": tool_call_id(choice), "type": "function", "function": function}],
            }
        return {
            "index": choice.index,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason(self._call, choice),
            "stop_reason": choice.stop_reason,
            "token_ids": None,
            "routed_experts": None,
        }


def finish_reason(asked: Call, choice: Choice) -> str:
    """Return why an answer ended; as in vLLM only calls under `tool_choice: required` end with "tool_calls"."""
    reason = choice.sequence.finish_reason
    return "tool_calls" if asked.tool_required and reason == "stop" else reason


def tool_call_id(choice: Choice) -> str:
    """Return the id of the call that an answer makes."""
    return f"chatcmpl-tool-{choice.sequence.id[:16]}"


class _Chunks:
    """Writes the stream of one choice; pieces are plain ASCII words unless they are JSON, which is escaped."""

    def __init__(self, asked: Call, head: Head, choice: Choice) -> None:
        self._choice = choice
        self._continuous = asked.continuous_usage
        self._plain = asked.said is None
        start = chunk_start(head, _CHUNK) + b'[{"index":%d,' % choice.index
        self._opening = (
            start
            + b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            + self._usage(0)
            + b',"prompt_token_ids":null,"prompt_text":null}\n\n'
        )
        before, closed = b'"delta":{"content":"', b'"}'
        self._first = start + before
        if asked.tool:
            call_id, name = _encode(tool_call_id(choice)), _encode(asked.tool)
            before, closed = b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":"', b'"}}]}'
            whole = (
                b'"delta":{"tool_calls":[{"id":'
                + call_id
                + b',"type":"function","index":0,"function":{"name":'
            )
            self._first = start + whole + name + b',"arguments":"'
        self._before = start + before
        middle, tail = closed + b',"logprobs":null,"finish_reason":', b',"token_ids":null}]'
        ending = _encode(finish_reason(asked, choice)) + b',"stop_reason":' + _encode(choice.stop_reason)
        self._after = middle + b"null" + tail
        self._after_last = middle + ending + tail

    def token(self, emission: Emission) -> bytes:
        number = emission.total_tokens
        piece = self._choice.pieces[number - 1]
        text = piece.encode() if self._plain else _encode(piece)[1:-1]
        after = self._after_last if emission.reason else self._after
        if self._continuous:
            after += self._usage(number)
        if number == 1:
            return self._opening + self._first + text + after + b"}\n\n"
        return self._before + text + after + b"}\n\n"

    def _usage(self, generated: int) -> bytes:
        return running_usage(self._choice, generated) if self._continuous else b""
