"""`/v1/completions`: read and written as vLLM 0.32 does, field by field.

A prompt is a text, token ids, or a list of either. Chunks are encoded but for their word when a request begins.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate
from igw.simulator.http.call import Call, Sampling, call, text_or_tokens
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.stream import DONE, FINGERPRINT, chunk_start, usage_and_done
from igw.simulator.http.structured import said_by
from igw.simulator.http.usage import Ended, counts, running_usage, whole_usage
from igw.simulator.serving import Serving

DEFAULT_TOKENS = 16
"""`max_tokens` of a completion that has none: OpenAI's default."""

_CHUNK = "text_completion"

_encode = msgspec.json.encode


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """A body of `/v1/completions`."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None


_decoder = msgspec.json.Decoder(CompletionRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""

    async def completions(request: web.Request) -> web.StreamResponse:
        return await generate(serving, request, read, "cmpl-")

    return [web.post("/v1/completions", completions)]


def read(body: bytes) -> tuple[Call, Callable[[Head, list[Choice]], CompletionWriter]]:
    """Return what a body asks for and who words the answer."""
    asked = read_completion(body)
    return asked, partial(CompletionWriter, asked)


def read_completion(body: bytes) -> Call:
    """Return what a body asks for; ApiError 400 for a bad one."""
    request = decode(_decoder, body)
    if request.suffix:
        raise ApiError(400, "suffix is not currently supported", param="suffix")
    limit = DEFAULT_TOKENS if request.max_tokens is None else request.max_tokens
    said = said_by(request.response_format, request.structured_outputs)
    return call(request, _prompts(request.prompt), limit, said=said)


def _prompts(prompt: str | list[str | int | list[int]]) -> tuple[array[int], ...]:
    if isinstance(prompt, str):
        return (text_or_tokens(prompt),)
    if not prompt or isinstance(prompt[0], int):
        return (text_or_tokens(prompt),)  # type: ignore[arg-type]  # a mixed list is refused there
    return tuple(text_or_tokens(each) for each in prompt)  # type: ignore[arg-type]


class CompletionWriter:
    """Words the answer to one completion."""

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
            details |= {"created_cache_tokens": None, "multimodal_tokens": None}
        return _encode(
            {
                "id": self._head.id,
                "object": "text_completion",
                "created": self._head.created,
                "model": self._head.model,
                "choices": [_choice(choice) for choice, _ in ended],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": whole_usage(ended, details),
                "kv_transfer_params": self._head.kv_transfer_params,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def opening(self) -> bytes:
        """Return nothing: the first chunk is the first token's."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the chunk of one token."""
        return self._chunks[emission.sequence.id].token(emission)

    def closing(self, ended: Ended) -> bytes:
        """Return the usage if it was asked for, and the end."""
        if not self._call.include_usage:
            return DONE
        return usage_and_done(self._head, _CHUNK, ended, self._details(ended))

    def _details(self, ended: Ended) -> dict[str, Any] | None:
        return {"cached_tokens": counts(ended).cached} if self._head.details else None


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": None,
        "finish_reason": choice.sequence.finish_reason,
        "stop_reason": choice.stop_reason,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }


class _Chunks:
    """Writes the stream of one choice; pieces are plain ASCII words unless they are JSON, which is escaped."""

    def __init__(self, asked: Call, head: Head, choice: Choice) -> None:
        self._choice = choice
        self._continuous = asked.continuous_usage
        self._plain = asked.said is None
        self._before = chunk_start(head, _CHUNK) + b'[{"index":%d,"text":"' % choice.index
        middle, tail = b'","logprobs":null,"finish_reason":', b',"prompt_token_ids":null,"token_ids":null}]'
        ending = _encode(choice.sequence.finish_reason) + b',"stop_reason":' + _encode(choice.stop_reason)
        self._after = middle + b'null,"stop_reason":null' + tail
        self._after_last = middle + ending + tail

    def token(self, emission: Emission) -> bytes:
        number = emission.total_tokens
        piece = self._choice.pieces[number - 1]
        text = piece.encode() if self._plain else _encode(piece)[1:-1]
        after = self._after_last if emission.reason else self._after
        if self._continuous:
            after += running_usage(self._choice, number)
        return self._before + text + after + b"}\n\n"
