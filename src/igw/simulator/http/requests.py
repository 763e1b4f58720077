"""OpenAI requests as vLLM reads them: bytes in, a `Call` or an `ApiError` out.

Answers are written in `answers`; what a call costs is the engine's business.
"""

from __future__ import annotations

from array import array
from typing import Any, TypeVar

import msgspec

from igw.simulator.text import render_chat, tokenize

DEFAULT_COMPLETION_TOKENS = 16


class ApiError(Exception):
    """A request that is answered with vLLM's error object."""

    def __init__(
        self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode(
            {"error": {"message": message, "type": kind, "param": param, "code": status}}
        )


class Call(msgspec.Struct, frozen=True):
    """One request: what to generate from, how much, and how the client wants to hear of it."""

    chat: bool
    model: str | None
    prompts: tuple[array[int], ...]
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    continuous_usage: bool


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options` of the OpenAI API, with vLLM's `continuous_usage_stats`."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    # Everything else a client may send (temperature, ignore_eos, logprobs, ...) changes nothing here and is accepted.
    model: str | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None


class _Chat(_Request, frozen=True, kw_only=True):
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    max_completion_tokens: int | None = None


class _Completion(_Request, frozen=True, kw_only=True):
    prompt: str | list[str | int | list[int]]


_Decoded = TypeVar("_Decoded", bound=_Request)
_chat_decoder = msgspec.json.Decoder(_Chat)
_completion_decoder = msgspec.json.Decoder(_Completion)


def read_chat(body: bytes) -> Call:
    """Read a body of `/v1/chat/completions`."""
    request = _decode(_chat_decoder, body)
    if not request.messages:
        raise ApiError(400, "messages must not be empty.", param="messages")
    try:
        prompt = tokenize(render_chat(request.messages, request.tools))
    except ValueError as error:
        raise ApiError(400, f"{error}.", param="messages") from error
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    return _call(request, (prompt,), limit, chat=True)


def read_completion(body: bytes) -> Call:
    """Read a body of `/v1/completions`; the prompt is a text, token ids, or a list of either."""
    request = _decode(_completion_decoder, body)
    limit = DEFAULT_COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens
    return _call(request, _prompts(request.prompt), limit, chat=False)


def _decode(decoder: msgspec.json.Decoder[_Decoded], body: bytes) -> _Decoded:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = path.rstrip("`").lstrip(".") or "body"
        raise _malformed("value_error", where, text) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed("json_invalid", "body", f"JSON decode error: {error}") from error


def _malformed(kind: str, where: str, text: str) -> ApiError:
    message = f"1 validation error:\n  {{'type': '{kind}', 'loc': '{where}', 'msg': '{text}'}}"
    return ApiError(400, message, kind="Bad Request", param=where)


def _call(request: _Request, prompts: tuple[array[int], ...], max_tokens: int | None, *, chat: bool) -> Call:
    if max_tokens is not None and max_tokens < 1:
        message = (
            f"max_tokens must be at least 1, got {max_tokens}. (parameter=max_tokens, value={max_tokens})"
        )
        raise ApiError(400, message, param="max_tokens")
    if request.n not in {None, 1}:
        raise ApiError(400, f"n must be 1: this server answers once, got {request.n}.", param="n")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if "" in stop:
        raise ApiError(400, "stop cannot contain an empty string.", param="stop")
    options = request.stream_options or StreamOptions()
    if request.stream_options and not request.stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    return Call(
        chat=chat,
        model=request.model,
        prompts=prompts,
        max_tokens=max_tokens,
        stop=stop,
        stream=bool(request.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
    )


def _prompts(prompt: str | list[str | int | list[int]]) -> tuple[array[int], ...]:
    if isinstance(prompt, str):
        prompts: tuple[array[int], ...] = (tokenize(prompt),)
    elif prompt and isinstance(prompt[0], int):
        prompts = (_token_ids(prompt),)
    else:
        prompts = tuple(tokenize(each) if isinstance(each, str) else _token_ids(each) for each in prompt)
    if not prompts or not all(prompts):
        raise ApiError(400, "The prompt must not be empty.", param="prompt")
    return prompts


def _token_ids(ids: Any) -> array[int]:
    try:
        return array("I", ids)
    except (TypeError, OverflowError) as error:
        message = f"A prompt must be a text or a list of token ids from 0 to 2**32 - 1: {error}."
        raise ApiError(400, message, param="prompt") from error
