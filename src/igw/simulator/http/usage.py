"""Counts of tokens in OpenAI's answers, with vLLM's details.

Those of the Responses and Messages APIs have other names and are written there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.deciding import Choice

Ended = list[tuple[Choice, Emission]]
"""Every choice of an answer with its last emission."""


class Counts(msgspec.Struct, frozen=True):
    """Tokens of one answer; a prompt is counted once however many choices it has."""

    prompt: int
    generated: int
    cached: int


def counts(ended: Ended) -> Counts:
    """Return the sums over the choices of an answer."""
    firsts = [(choice, emission) for choice, emission in ended if choice.first]
    return Counts(
        prompt=sum(choice.sequence.prompt_tokens for choice, _ in firsts),
        generated=sum(emission.total_tokens for _, emission in ended),
        cached=sum(emission.cached_tokens for _, emission in firsts),
    )


def whole_usage(ended: Ended, details: dict[str, Any] | None) -> dict[str, Any]:
    """Return `usage` of an answer that is not streamed."""
    return stream_usage(ended, None) | {
        "prompt_tokens_details": details,
        "completion_tokens_details": None,
    }


def stream_usage(ended: Ended, details: dict[str, Any] | None) -> dict[str, Any]:
    """Return `usage` of the last chunk of a stream, which leaves out what it has nothing to say about."""
    tokens = counts(ended)
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "total_tokens": tokens.prompt + tokens.generated,
        "completion_tokens": tokens.generated,
    }
    if details is not None:
        usage["prompt_tokens_details"] = details
    return usage


def running_usage(choice: Choice, generated: int) -> bytes:
    """Return the field that a chunk has with `continuous_usage_stats`."""
    prompt = choice.sequence.prompt_tokens
    counted = b'"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d'
    return b',"usage":{' + counted % (prompt, prompt + generated, generated) + b"}"
