"""OpenAI's `/v1/responses` as vLLM 0.32 serves it without a store: whole, or as its family of events.

The input is turned into a chat and answered as one, so both APIs share prompts and cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate
from igw.simulator.http.call import Call, check_limits
from igw.simulator.http.chat import ChatRequest, chat_call
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.usage import Ended, counts
from igw.simulator.serving import Serving
from igw.simulator.transfer.params import KvTransferParams

_encode = msgspec.json.encode


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/v1/responses`; fields that are only shown again are taken as they are."""

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] = "auto"
    text: dict[str, Any] | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    cache_salt: str | None = None
    priority: int | None = None
    metadata: Any = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    reasoning: Any = None
    user: str | None = None
    truncation: str | None = None
    kv_transfer_params: KvTransferParams | None = None


_decoder = msgspec.json.Decoder(ResponsesRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API; nothing is kept, so no response is ever found again."""

    async def responses(request: web.Request) -> web.StreamResponse:
        return await generate(serving, request, read, "resp_")

    async def retrieve(request: web.Request) -> web.StreamResponse:
        raise _not_found(request.match_info["id"])

    return [
        web.post("/v1/responses", responses),
        web.get("/v1/responses/{id}", retrieve),
        web.post("/v1/responses/{id}/cancel", retrieve),
    ]


def read(body: bytes) -> tuple[Call, Callable[[Head, list[Choice]], ResponsesWriter]]:
    """Return what a body asks for and who words the answer; ApiError for a bad one."""
    request = decode(_decoder, body)
    if request.previous_response_id is not None:
        raise _not_found(request.previous_response_id)
    if request.background:
        message = "background mode needs a store, and this server keeps no responses."
        raise ApiError(400, message, param="background")
    check_limits(request.max_output_tokens, name="max_output_tokens")
    asked = chat_call(as_chat(request))
    return asked, partial(ResponsesWriter, asked, request)


def _not_found(response_id: str) -> ApiError:
    if not response_id.startswith("resp"):
        message = f"Invalid 'response_id': '{response_id}'. Expected an ID that begins with 'resp'."
        return ApiError(400, message, kind="invalid_request_error", param="response_id")
    message = f"Response with id '{response_id}' not found."
    return ApiError(404, message, kind="invalid_request_error", param="response_id")


def as_chat(request: ResponsesRequest) -> ChatRequest:
    """Return the chat that says the same as *request*."""
    messages = [{"role": "system", "content": request.instructions}] if request.instructions else []
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        messages += [message for item in request.input if (message := _message(item)) is not None]
    return ChatRequest(
        model=request.model,
        messages=messages,
        tools=[_tool(tool) for tool in request.tools] or None,
        tool_choice=_tool_choice(request.tool_choice),
        max_completion_tokens=request.max_output_tokens,
        stream=request.stream,
        cache_salt=request.cache_salt,
        priority=request.priority,
        response_format=_response_format(request.text),
        kv_transfer_params=request.kv_transfer_params,
    )


def _message(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return an item of the input as a message of a chat; thoughts are left out, as chat templates do."""
    kind = item.get("type", "message")
    if kind == "message":
        return {"role": item.get("role"), "content": item.get("content")}
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        calls = [{"id": item.get("call_id"), "type": "function", "function": function}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    if kind == "function_call_output":
        return {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
    if kind == "reasoning":
        return None
    raise ApiError(400, f"An input item of type {kind!r} is not simulated.", param="input")


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise ApiError(400, f"A tool of type {tool.get('type')!r} is not simulated.", param="tools")
    return {"type": "function", "function": {key: tool[key] for key in tool if key != "type"}}


def _tool_choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, dict) and "function" not in choice:
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _response_format(text: dict[str, Any] | None) -> dict[str, Any] | None:
    form = (text or {}).get("format")
    if not isinstance(form, dict):
        return None
    return {"type": form.get("type"), "json_schema": {"schema": form.get("schema")}}


class ResponsesWriter:
    """Words the answer to one request."""

    def __init__(self, asked: Call, request: ResponsesRequest, head: Head, choices: list[Choice]) -> None:
        self._call = asked
        self._request = request
        self._head = head
        self._choice = choices[0]
        own = self._choice.sequence.id[:16]
        self._item_id = f"fc_{own}" if asked.tool else f"msg_{own}"
        self._call_id = f"call_{own}"
        self._events = 0

    def whole(self, ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        return _encode(self._final(ended))

    def opening(self) -> bytes:
        """Return the events before the first token."""
        begun = self._response("in_progress", [], None)
        events = [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
            self._event("response.output_item.added", output_index=0, item=self._item("in_progress")),
        ]
        if not self._call.tool:
            events.append(self._in_part("response.content_part.added", part=_part("", logprobs=[])))
        return b"".join(events)

    def token(self, emission: Emission) -> bytes:
        """Return the event of one token; the text of a stop string has none."""
        piece = self._choice.pieces[emission.total_tokens - 1]
        if not piece:
            return b""
        if self._call.tool:
            name = "response.function_call_arguments.delta"
            return self._event(name, output_index=0, item_id=self._item_id, delta=piece)
        return self._in_part("response.output_text.delta", delta=piece, logprobs=[])

    def closing(self, ended: Ended) -> bytes:
        """Return the events after the last token; as in vLLM the last is `completed` even if cut short."""
        text = self._choice.text
        if self._call.tool:
            name = "response.function_call_arguments.done"
            events = [
                self._event(name, output_index=0, item_id=self._item_id, name=self._call.tool, arguments=text)
            ]
        else:
            events = [
                self._in_part("response.output_text.done", text=text, logprobs=[]),
                self._in_part("response.content_part.done", part=_part(text)),
            ]
        events.append(
            self._event("response.output_item.done", output_index=0, item=self._item("completed", text))
        )
        events.append(self._event("response.completed", response=self._final(ended)))
        return b"".join(events)

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._events, **fields}
        self._events += 1
        return b"event: " + kind.encode() + b"\ndata: " + _encode(data) + b"\n\n"

    def _in_part(self, kind: str, /, **fields: Any) -> bytes:
        return self._event(kind, output_index=0, item_id=self._item_id, content_index=0, **fields)

    def _item(self, status: str, text: str | None = None) -> dict[str, Any]:
        if self._call.tool:
            return {
                "id": self._item_id,
                "type": "function_call",
                "call_id": self._call_id,
                "name": self._call.tool,
                "arguments": text or "",
                "status": status,
            }
        return {
            "id": self._item_id,
            "content": [] if text is None else [_part(text)],
            "role": "assistant",
            "status": status,
            "type": "message",
            "phase": None,
        }

    def _final(self, ended: Ended) -> dict[str, Any]:
        status = "incomplete" if self._choice.sequence.finish_reason == "length" else "completed"
        return self._response(status, [self._item("completed", self._choice.text)], _usage(ended, self._head))

    def _response(self, status: str, output: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
        asked = self._request
        return {
            "id": self._head.id,
            "created_at": self._head.created,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "metadata": asked.metadata,
            "model": self._head.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "tool_choice": asked.tool_choice if asked.tools else "none",
            "tools": asked.tools,
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "background": False,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": asked.reasoning,
            "service_tier": "auto",
            "status": status,
            "text": asked.text,
            "top_logprobs": None,
            "truncation": asked.truncation or "disabled",
            "usage": usage,
            "user": asked.user,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": self._head.kv_transfer_params,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }


def _part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}


def _usage(ended: Ended, head: Head) -> dict[str, Any]:
    tokens = counts(ended)
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {
            "cached_tokens": tokens.cached if head.details else 0,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": tokens.generated,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": tokens.prompt + tokens.generated,
    }
