"""The JSON and the event stream of an answer, field by field as vLLM 0.32 writes them.

Chunks are encoded but for the word in their middle when a request begins: a busy server writes thousands a second.
"""

from __future__ import annotations

from typing import Any

import msgspec

from igw.simulator.engine.sequence import Emission, Sequence

VERSION = "0.32.0"
"""The vLLM release whose answers these are."""

FINGERPRINT = f"vllm-{VERSION}-igw"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.encode


class Head(msgspec.Struct, frozen=True):
    """What every part of one answer repeats; `created` is in seconds since the epoch."""

    chat: bool
    id: str
    model: str
    created: int
    block_size: int


class Choice(msgspec.Struct, frozen=True):
    """One prompt's answer, decided before its first token is generated.

    `pieces` has one text per token of the sequence; one that belongs to a stop string is empty.
    """

    index: int
    sequence: Sequence
    pieces: list[str]
    stop_reason: str | None


def whole(head: Head, ended: list[tuple[Choice, Emission]]) -> bytes:
    """Return the body of an answer that is not streamed, from each choice and its last emission."""
    body: dict[str, Any] = {
        "id": head.id,
        "object": "chat.completion" if head.chat else "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": [_chat_choice(choice) if head.chat else _text_choice(choice) for choice, _ in ended],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": _usage(head, ended, sparse=False),
    }
    if head.chat:
        body |= {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
    body |= {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
    return _encode(body)


def usage_chunk(head: Head, ended: list[tuple[Choice, Emission]]) -> bytes:
    """Return the last chunk of a stream with `include_usage`: no choices, the usage of all."""
    usage = _encode(_usage(head, ended, sparse=True))
    fingerprint = _encode(FINGERPRINT)
    return _chunk_start(head) + b'[],"usage":' + usage + b',"system_fingerprint":' + fingerprint + b"}\n\n"


class Chunks:
    """Writes the stream of one choice; pieces are plain ASCII words, so they need no escaping."""

    def __init__(self, head: Head, choice: Choice, *, continuous_usage: bool) -> None:
        self._choice = choice
        self._continuous = continuous_usage
        start = _chunk_start(head) + b'[{"index":%d,' % choice.index
        if head.chat:
            self.opening = (
                start + b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            )
            self.opening += self._usage(0) + b',"prompt_token_ids":null,"prompt_text":null}\n\n'
            self._before, middle = start + b'"delta":{"content":"', b'"},"logprobs":null,"finish_reason":'
            going_on, tail = b"null", b',"token_ids":null}]'
        else:
            self.opening = b""
            self._before, middle = start + b'"text":"', b'","logprobs":null,"finish_reason":'
            going_on, tail = b'null,"stop_reason":null', b',"prompt_token_ids":null,"token_ids":null}]'
        reason, stop_reason = _encode(choice.sequence.finish_reason), _encode(choice.stop_reason)
        self._after = middle + going_on + tail
        self._after_last = middle + reason + b',"stop_reason":' + stop_reason + tail

    def token(self, emission: Emission) -> bytes:
        """Return the chunk of the token that *emission* is about, after the role when it is the first."""
        number = emission.total_tokens
        text = self._choice.pieces[number - 1].encode()
        after = self._after_last if emission.reason else self._after
        if self._continuous:
            after += self._usage(number)
        chunk = self._before + text + after + b"}\n\n"
        return self.opening + chunk if number == 1 else chunk

    def _usage(self, generated: int) -> bytes:
        if not self._continuous:
            return b""
        prompt = self._choice.sequence.prompt_tokens
        counts = b'"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d'
        return b',"usage":{' + counts % (prompt, prompt + generated, generated) + b"}"


def models(model: str, created: int, max_model_len: int) -> bytes:
    """Return the body of `/v1/models`."""
    permission = {
        "id": f"modelperm-{created:016x}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card = {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
    return _encode({"object": "list", "data": [card]})


def _chunk_start(head: Head) -> bytes:
    start = {
        "id": head.id,
        "object": "chat.completion.chunk" if head.chat else "text_completion",
        "created": head.created,
        "model": head.model,
    }
    return b"data: " + _encode(start)[:-1] + b',"choices":'


def _chat_choice(choice: Choice) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": "".join(choice.pieces),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    return {
        "index": choice.index,
        "message": message,
        "logprobs": None,
        **_ending(choice),
        "routed_experts": None,
    }


def _text_choice(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": "".join(choice.pieces),
        "logprobs": None,
        **_ending(choice),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }


def _ending(choice: Choice) -> dict[str, Any]:
    return {
        "finish_reason": choice.sequence.finish_reason,
        "stop_reason": choice.stop_reason,
        "token_ids": None,
    }


def _usage(head: Head, ended: list[tuple[Choice, Emission]], *, sparse: bool) -> dict[str, Any]:
    prompt = sum(choice.sequence.prompt_tokens for choice, _ in ended)
    generated = sum(emission.total_tokens for _, emission in ended)
    cached = sum(emission.cached_tokens for _, emission in ended)
    details: dict[str, Any] = {"cached_tokens": cached}
    if head.chat:
        details["created_cache_tokens"] = prompt // head.block_size * head.block_size - cached
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + generated,
        "completion_tokens": generated,
        "prompt_tokens_details": details,
    }
    if not sparse:
        details.setdefault("created_cache_tokens", None)
        details["multimodal_tokens"] = None
        usage["completion_tokens_details"] = None
    return usage
