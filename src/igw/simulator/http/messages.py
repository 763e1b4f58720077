"""Anthropic's Messages API as vLLM 0.32 serves it: `/v1/messages` and `/v1/messages/count_tokens`.

A conversation is turned into a chat and answered as one, so both APIs share prompts and cache.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate, json_response
from igw.simulator.http.call import Call, check_limits, stop_strings
from igw.simulator.http.chat import ChatRequest, chat_call
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.usage import Ended, counts
from igw.simulator.serving import Serving
from igw.simulator.transfer.params import KvTransferParams

_encode = msgspec.json.encode


class CountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/v1/messages/count_tokens`."""

    model: str
    messages: list[dict[str, Any]]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """A body of `/v1/messages`."""

    max_tokens: int
    cache_salt: str | None = None
    output_config: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    kv_transfer_params: KvTransferParams | None = None


_decoder = msgspec.json.Decoder(MessagesRequest)
_count_decoder = msgspec.json.Decoder(CountRequest)

_BILLING = "x-anthropic-billing-header"
_ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""

    async def messages(request: web.Request) -> web.StreamResponse:
        return await _with_errors(generate(serving, request, read, "chatcmpl-"))

    async def count(request: web.Request) -> web.StreamResponse:
        return await _with_errors(_count(serving, request))

    return [web.post("/v1/messages", messages), web.post("/v1/messages/count_tokens", count)]


async def _with_errors(answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    try:
        return await answer
    except ApiError as error:
        return json_response(error_body(error), error.status)


async def _count(serving: Serving, request: web.Request) -> web.StreamResponse:
    serving.check_ready()
    asked = decode(_count_decoder, await request.read())
    serving.names.adapter(asked.model)
    tokens = len(chat_call(as_chat(asked)).prompts[0])
    management = {"original_input_tokens": tokens}
    return json_response(_encode({"input_tokens": tokens, "context_management": management}))


def error_body(error: ApiError) -> bytes:
    """Return an error as Anthropic's clients expect it."""
    kind = _ERROR_TYPES.get(error.status, "overloaded_error" if error.status == 503 else "api_error")
    return _encode({"type": "error", "error": {"type": kind, "message": error.message}})


def read(body: bytes) -> tuple[Call, Callable[[Head, list[Choice]], MessagesWriter]]:
    """Return what a body asks for and who words the answer; ApiError 400 for a bad one."""
    asked = read_messages(body)
    return asked, partial(MessagesWriter, asked)


def read_messages(body: bytes) -> Call:
    """Return what a body asks for; ApiError 400 for a bad one."""
    request = decode(_decoder, body)
    check_limits(request.max_tokens)
    chat = msgspec.structs.replace(
        as_chat(request),
        max_completion_tokens=request.max_tokens,
        cache_salt=request.cache_salt,
        response_format=_response_format(request.output_config),
        stop=list(stop_strings(request.stop_sequences, "stop_sequences")),
        stream=request.stream,
        kv_transfer_params=request.kv_transfer_params,
    )
    return chat_call(chat)


def as_chat(request: CountRequest) -> ChatRequest:
    """Return the chat that says the same as *request*."""
    messages = [_system(request.system)] if request.system else []
    for index, message in enumerate(request.messages):
        messages += _chat_messages(message, f"messages[{index}]")
    return ChatRequest(
        model=request.model,
        messages=messages,
        tools=[_tool(tool) for tool in request.tools or ()] or None,
        tool_choice=_tool_choice(request.tool_choice),
    )


def _system(system: str | list[dict[str, Any]]) -> dict[str, Any]:
    # Claude Code begins with a line that differs from request to request; vLLM leaves it out, so that prefixes match.
    if isinstance(system, list):
        system = [block for block in system if not str(block.get("text")).startswith(_BILLING)]
    return {"role": "system", "content": system}


def _chat_messages(message: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of a chat: results of tools are messages of their own there."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(content, list):
        yield {"role": role, "content": content}
        return
    parts, calls = [], []
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            raise ApiError(400, f"{where}.content[{index}] must be an object with a type.", param="messages")
        kind = block.get("type")
        if kind == "tool_use":
            arguments = json.dumps(block.get("input"), separators=(",", ":"))
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            yield {
                "role": "tool",
                "tool_call_id": block.get("tool_use_id"),
                "content": block.get("content"),
            }
        elif kind not in {"thinking", "redacted_thinking"}:  # thoughts are left out, as chat templates do
            parts.append(block)
    if parts or calls:
        yield {"role": role, "content": parts} | ({"tool_calls": calls} if calls else {})


def _response_format(output_config: dict[str, Any] | None) -> dict[str, Any] | None:
    form = (output_config or {}).get("format")
    if not isinstance(form, dict):
        return None
    return {"type": form.get("type"), "json_schema": {"schema": form.get("schema")}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool.get("name"), "description": tool.get("description")}
    return {"type": "function", "function": function | {"parameters": tool.get("input_schema")}}


def _tool_choice(choice: dict[str, Any] | None) -> str | dict[str, Any] | None:
    kind = (choice or {}).get("type")
    if choice is None or kind in {"auto", "none"}:
        return kind
    if kind == "any":
        return "required"
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    raise ApiError(400, "tool_choice.type must be auto, any, tool or none.", param="tool_choice")


class MessagesWriter:
    """Words the answer to one request."""

    def __init__(self, asked: Call, head: Head, choices: list[Choice]) -> None:
        self._call = asked
        self._head = head
        self._choice = choices[0]

    def whole(self, ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        content: dict[str, Any] = {"type": "text", "text": self._choice.text}
        if self._call.tool:
            content = {**self._tool_use(), "input": self._arguments()}
        return _encode(
            {**self._message([content]), **self._ending(), "usage": self._usage(ended), **self._transfer()},
        )

    def _transfer(self) -> dict[str, Any]:
        # vLLM leaves fields out here that are not set.
        told = self._head.kv_transfer_params
        return {} if told is None else {"kv_transfer_params": told}

    def opening(self) -> bytes:
        """Return the events before the first token."""
        prompt = self._choice.sequence.prompt_tokens
        message = {
            **self._message([]),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": 0},
        }
        block = {**self._tool_use(), "input": {}} if self._call.tool else {"type": "text", "text": ""}
        return _event({"type": "message_start", "message": message}) + _event(
            {"type": "content_block_start", "index": 0, "content_block": block}
        )

    def token(self, emission: Emission) -> bytes:
        """Return the event of one token; the text of a stop sequence has none."""
        piece = self._choice.pieces[emission.total_tokens - 1]
        if not piece:
            return b""
        delta = {"type": "text_delta", "text": piece}
        if self._call.tool:
            delta = {"type": "input_json_delta", "partial_json": piece}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta})

    def closing(self, ended: Ended) -> bytes:
        """Return the events after the last token."""
        delta = {"type": "message_delta", "delta": self._ending(), "usage": self._usage(ended)}
        return (
            _event({"type": "content_block_stop", "index": 0})
            + _event(delta)
            + _event({"type": "message_stop"})
        )

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._head.model,
        }

    def _tool_use(self) -> dict[str, Any]:
        return {
            "type": "tool_use",
            "id": f"toolu_{self._choice.sequence.id[:24]}",
            "name": self._call.tool,
        }

    def _arguments(self) -> Any:
        try:
            return json.loads(self._choice.text)
        except ValueError:  # cut short by max_tokens: there is no such thing as half an object here
            return {}

    def _ending(self) -> dict[str, Any]:
        reason: str = self._choice.sequence.finish_reason
        if isinstance(self._choice.stop_reason, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": self._choice.stop_reason}
        if self._call.tool and reason == "stop":
            return {"stop_reason": "tool_use"}
        return {"stop_reason": _STOP_REASONS[reason]}

    def _usage(self, ended: Ended) -> dict[str, Any]:
        tokens, size = counts(ended), self._head.block_size
        if not self._head.details:
            return {"input_tokens": tokens.prompt, "output_tokens": tokens.generated}
        # As Anthropic counts: input tokens are those that were neither read from the cache nor written to it.
        created = tokens.prompt // size * size - tokens.cached
        return {
            "input_tokens": tokens.prompt - tokens.cached - created,
            "output_tokens": tokens.generated,
            "cache_creation_input_tokens": created,
            "cache_read_input_tokens": tokens.cached,
        }


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (data["type"].encode(), _encode(data))
