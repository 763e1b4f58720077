"""The tokens of a request that brings them itself. Making tokens of text is up to those who ask a tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from igw.facts import TOKENS
from igw.prefix.chain import Placed, Prompt
from igw.request import Request


def prompt_of(request: Request, tokens: bytes, *, media: tuple[Placed, ...] = ()) -> Prompt:
    """Return the prompt of *request* in *tokens*, four bytes each, with what else its blocks are told apart by."""
    return Prompt(tokens, salt=salt_of(request), media=media)


def tokens_in(request: Request) -> bytes | None:
    """Return the tokens that *request* has instead of a text (`prompt` or `input_ids` as a list of numbers), four bytes each.

    `parsing` keeps those as an array of numbers, and text as bytes of the body.
    """
    parts = request.prompt
    if len(parts) != 1 or not isinstance(parts[0].obj, array) or request.media:
        return None
    return bytes(parts[0])


def prompt_known(request: Request, produced: Mapping[str, Any]) -> Prompt | None:
    """Return the prompt of *request* in tokens: as a token producer found them, else its own; None where nobody knows any.

    *produced* is `Facts.produced`.
    """
    for key, found in produced.items():
        if key.startswith(f"{TOKENS}/") and isinstance(found, Prompt):
            return found
    tokens = tokens_in(request)
    return prompt_of(request, tokens) if tokens is not None else None


def salt_of(request: Request) -> str:
    """Return the `cache_salt` of *request*: what its seed has behind the model."""
    return request.seed[len(request.model.encode()) + 1 :].decode("utf-8", "replace")
