"""Tokens -> keys of their leading blocks, our own: what engines call the same blocks depends on their hash function and its seed.

A key covers its parent's key, the block's tokens and what else an engine hashes with them, so equal keys mean equal prefixes but for
collisions of xxh3-64. Text without tokens is hashed in `hashing`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

TOKEN_BYTES = 4

_pack = msgspec.msgpack.Encoder().encode


class Placed(msgspec.Struct, frozen=True):
    """One medium of a prompt in tokens: what its engine calls its content, and where its placeholder is."""

    identifier: str
    first_token: int
    tokens: int


class Prompt(msgspec.Struct, frozen=True, dict=True):
    """A prompt in the tokens of its model, and what else must be equal for its cached blocks to be used again."""

    tokens: bytes
    """Four bytes each, in this machine's order (`packed`)."""
    adapter: str = ""
    """Name of the LoRA adapter; empty: the base model."""
    salt: str = ""
    """`cache_salt` of the request."""
    media: tuple[Placed, ...] = ()

    @cached_property
    def known_keys(self) -> dict[int, list[int]]:
        """What `keys` has found, by size of blocks in tokens: a request that waits is looked at again and again."""
        return {}

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return len(self.tokens) // TOKEN_BYTES

    def numbers(self) -> list[int]:
        """Return the tokens as numbers."""
        return array("I", self.tokens).tolist()

    def little_endian(self) -> bytes:
        """Return the tokens, four bytes each, in the order that wires have."""
        if sys.byteorder == "little":
            return self.tokens
        swapped = array("I", self.tokens)
        swapped.byteswap()
        return swapped.tobytes()


def packed(tokens: Iterable[int]) -> bytes:
    """Return *tokens*, four bytes each; OverflowError for one that is below 0 or above 2**32."""
    return array("I", tokens).tobytes()


@lru_cache(64)
def root(block_tokens: int) -> int:
    """Return what stands for the parent of every first block of that size: blocks of two sizes are never the same."""
    return xxh3_64_intdigest(b"igw blocks of %d" % block_tokens)


def adapted(parent: int, adapter: str) -> int:
    """Return the parent of the first blocks of *adapter*; its cache is not the base model's."""
    return xxh3_64_intdigest(adapter.encode(), parent) if adapter else parent


def extended(
    parent: int, tokens: bytes, block_tokens: int, extras: Sequence[Sequence[Any] | None] | None = None
) -> list[int]:
    """Return the keys of the full blocks of *tokens*, which follow *parent*.

    *extras* are what is hashed beside the tokens, per block; None or empty for nothing.
    """
    width, digest = block_tokens * TOKEN_BYTES, xxh3_64_intdigest
    keys: list[int] = []
    full = len(tokens) - len(tokens) % width
    if not extras:
        if len(tokens) != full:
            tokens = tokens[:full]
        for (block,) in struct.iter_unpack(f"{width}s", tokens):
            parent = digest(block, parent)
            keys.append(parent)
        return keys
    for number, at in enumerate(range(0, full, width)):
        block, extra = tokens[at : at + width], extras[number] if number < len(extras) else None
        parent = digest(block + _pack(extra) if extra else block, parent)
        keys.append(parent)
    return keys


def keys(prompt: Prompt, block_tokens: int) -> list[int]:
    """Return the key of every full block of *prompt*, computed once."""
    found = prompt.known_keys.get(block_tokens)
    if found is None:
        found = prompt.known_keys[block_tokens] = _keys(prompt, block_tokens)
    return found


def _keys(prompt: Prompt, block_tokens: int) -> list[int]:
    start = adapted(root(block_tokens), prompt.adapter)
    extras = _extras(prompt, block_tokens)
    if not extras:
        return extended(start, prompt.tokens, block_tokens)
    blocks = len(prompt) // block_tokens
    return extended(start, prompt.tokens, block_tokens, [extras.get(block) for block in range(blocks)])


def _extras(prompt: Prompt, block_tokens: int) -> Mapping[int, list[Any]]:
    """Return by block what vLLM hashes beside tokens and adapter: media that touch it, by their place in it, then the salt."""
    extras: dict[int, list[Any]] = {}
    for medium in prompt.media:
        last = (medium.first_token + medium.tokens - 1) // block_tokens
        for block in range(medium.first_token // block_tokens, last + 1):
            place = medium.first_token - block * block_tokens
            extras.setdefault(block, []).append([medium.identifier, place])
    if prompt.salt:
        extras.setdefault(0, []).append(prompt.salt)
    return extras
