"""The body of a chat or a completion -> what a chat template is given, as vLLM makes it. Rendering is in `templates`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_TEXTS = {
    "text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking",
}  # fmt: skip
"""Kinds of parts that are text -> where it stands."""


class Function(msgspec.Struct):
    """A tool as a template sees it: what the client left out is there, as null."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Chat(msgspec.Struct, frozen=True):
    """A body of `/v1/chat/completions`, as far as its prompt goes."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    documents: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None


class Completion(msgspec.Struct, frozen=True):
    """A body of `/v1/completions`, as far as its prompt goes."""

    prompt: str | list[str]
    add_special_tokens: bool = True


chat = msgspec.json.Decoder(Chat).decode
completion = msgspec.json.Decoder(Completion).decode


def messages_of(asked: Chat, *, in_parts: bool) -> list[dict[str, Any]]:
    """Return the messages as a template is given them: content as one text or, *in_parts*, as a list of texts.

    Raises:
        ValueError: something in them is no text, or they are none.
    """
    return [_message(message, in_parts=in_parts) for message in asked.messages]


def tools_of(asked: Chat) -> list[dict[str, Any]] | None:
    """Return the tools as a template is given them: every field there, in the engine's order, then the client's own.

    Raises:
        ValueError: they are none.
    """
    return [_tool(tool) for tool in asked.tools] if asked.tools else None


def kwargs_of(asked: Chat) -> Mapping[str, Any]:
    """Return what the request says to the template itself."""
    more = asked.chat_template_kwargs or {}
    return more if asked.reasoning_effort is None else {"reasoning_effort": asked.reasoning_effort, **more}


def _message(message: Mapping[str, Any], *, in_parts: bool) -> dict[str, Any]:
    role, texts = message.get("role"), _texts(message.get("content"))
    if not isinstance(role, str):
        raise ValueError("a message has no role")  # noqa: TRY004
    content: Any = [{"type": "text", "text": text} for text in texts] if in_parts else "\n".join(texts)
    made = {"role": role, "content": content}
    if role == "assistant":
        if calls := message.get("tool_calls"):
            made["tool_calls"] = [_call(call) for call in calls]
        reasoning = message.get("reasoning", message.get("reasoning_content"))
        if reasoning is not None:
            made["reasoning"] = made["reasoning_content"] = reasoning
    if role == "tool" and "tool_call_id" in message:
        made["tool_call_id"] = message["tool_call_id"]
    if isinstance(message.get("name"), str):
        made["name"] = message["name"]
    return made


def _texts(content: Any) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, Sequence):
        raise ValueError("the content of a message is neither text nor a list")  # noqa: TRY004
    return [_text(part) for part in content]


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get(_TEXTS.get(part.get("type", "text"), "")) if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        raise ValueError("a part of a message is no text")  # noqa: TRY004
    return text


def _call(call: Any) -> dict[str, Any]:
    """Return a tool call whose arguments are an object, as templates want them; what is none counts as empty."""
    function = dict(call["function"]) if isinstance(call, Mapping) and "function" in call else None
    if function is None:
        raise ValueError("a tool call has no function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            arguments = None
    function["arguments"] = arguments if isinstance(arguments, dict) else {}
    return {**call, "function": function}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    try:
        function = msgspec.structs.asdict(msgspec.convert(tool.get("function"), Function))
    except msgspec.ValidationError as error:
        raise ValueError(f"a tool is none: {error}") from None
    return {"type": "function", **tool, "function": {**function, **tool["function"]}}
