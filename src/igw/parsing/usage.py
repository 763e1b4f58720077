"""Token counts of an answer: what an engine's object of counts says. Finding that object in an answer is `parsing.answers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_MOST = 1 << 53
"""Counts above this are no counts."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request as the model server counted them; None where it did not say."""

    prompt_tokens: int | None = None
    """All of the prompt, what was cached included."""
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt, read from the prefix cache."""
    audio_seconds: float | None = None
    """Of the sound that was heard, where a transcription is counted so."""

    def or_else(self, other: Usage) -> Usage:
        """Return these counts, and *other*'s where these say nothing."""
        return Usage(
            *[theirs if own is None else own for own, theirs in zip(self._all(), other._all(), strict=True)]
        )

    def _all(self) -> tuple[Any, ...]:
        return (self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.audio_seconds)


NOTHING = Usage()


def usage_of(said: Mapping[str, Any]) -> Usage:
    """Return what an object of counts says; `NOTHING` if it is none.

    Names: OpenAI's `usage` of both generations, Anthropic's, SGLang's `meta_info`, TGI's `details`.
    """
    input_tokens = _count(said, "input_tokens")
    read, written = _count(said, "cache_read_input_tokens"), _count(said, "cache_creation_input_tokens")
    if input_tokens is not None:
        # Anthropic counts apart what was read from the cache or written to it.
        input_tokens += (read or 0) + (written or 0)
    prompt = _first(
        _count(said, "prompt_tokens"), input_tokens, _count(said, "input_length"), _length(said, "prefill")
    )
    completion = _first(
        _count(said, "completion_tokens"), _count(said, "output_tokens"), _count(said, "generated_tokens")
    )
    if prompt is None and completion is None:
        # Rerankers may name the total alone: they write nothing, so it is the prompt.
        prompt = _count(said, "total_tokens")
    cached = _first(
        _count(said.get("prompt_tokens_details"), "cached_tokens"),
        _count(said.get("input_tokens_details"), "cached_tokens"),
        _count(said, "cached_tokens"),
        read,
    )
    seconds: Any = said.get("seconds") if said.get("type") == "duration" else None
    heard = float(seconds) if type(seconds) in (int, float) and 0 <= seconds <= _MOST else None
    return Usage(prompt, completion, cached, heard)


def _count(said: Any, name: str) -> int | None:
    value = said.get(name) if isinstance(said, dict) else None
    return value if type(value) is int and 0 <= value <= _MOST else None


def _length(said: Mapping[str, Any], name: str) -> int | None:
    """Return the length of a list; None if it is empty: TGI leaves it so unless the client asks for it."""
    value = said.get(name)
    return len(value) or None if isinstance(value, list) else None


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)
