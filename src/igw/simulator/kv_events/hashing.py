"""Block hashes as vLLM computes them, so that whoever knows the tokens and the seed gets the same numbers.

Fast hashes for servers that publish nothing are in `engine.blocks`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
from xxhash import xxh3_128_digest

from igw.simulator.engine.sequence import Sequence
from igw.simulator.kv_events.config import HashAlgorithm

_EVENT_BITS = 64

_DIGESTS: dict[HashAlgorithm, Callable[[bytes], bytes]] = {
    "sha256_cbor": lambda data: hashlib.sha256(data).digest(),
    "xxhash_cbor": xxh3_128_digest,
}


class Media(msgspec.Struct, frozen=True):
    """One picture, sound or film in a prompt: its content's identifier and the placeholder tokens it takes."""

    identifier: str
    first_token: int
    tokens: int


class TokenSequence(Sequence, frozen=True, kw_only=True):
    """A sequence that brings along what its events tell: the tokens of prompt and output, and what else was hashed.

    `lora_id` is the number vLLM gives an adapter when it is loaded; `adapter` is its name.
    """

    tokens: array[int]
    cache_salt: str | None = None
    lora_id: int | None = None
    media: tuple[Media, ...] = ()

    def extra_keys(self, first_token: int, last_token: int) -> tuple[Any, ...] | None:
        """Return what is hashed beside the tokens of a block, in vLLM's order: adapter, media, cache salt.

        A medium is told with its place relative to the block. Only a prompt's first block holds the salt.
        """
        return extra_keys((first_token, last_token), self.adapter, self.media, self.cache_salt)


class BlockHasher:
    """Names the full blocks of a sequence: each hash covers its parent's hash, its tokens and its extra keys."""

    def __init__(self, algorithm: HashAlgorithm, seed: str, block_size: int) -> None:
        self._digest = _DIGESTS[algorithm]
        self._block_size = block_size
        self.none_hash = self._digest(cbor2.dumps(seed, canonical=True))
        """The parent of every first block, vLLM's NONE_HASH."""

    @property
    def digest_bytes(self) -> int:
        """Length of a whole hash."""
        return len(self.none_hash)

    def hashes(
        self,
        tokens: array[int],
        adapter: str | None = None,
        media: tuple[Media, ...] = (),
        salt: str | None = None,
    ) -> tuple[int, ...]:
        """Return the whole hash of each full block as a number, big endian."""
        size, parent, names = self._block_size, self.none_hash, []
        for first in range(0, len(tokens) - size + 1, size):
            extra = extra_keys((first, first + size), adapter, media, salt)
            parent = self._digest(
                cbor2.dumps((parent, tuple(tokens[first : first + size]), extra), canonical=True)
            )
            names.append(int.from_bytes(parent))
        return tuple(names)


def extra_keys(
    block: tuple[int, int], adapter: str | None, media: tuple[Media, ...], salt: str | None
) -> tuple[Any, ...] | None:
    """Return the extra keys of the block of tokens [first, last); None when there are none (`TokenSequence`)."""
    if adapter is None and salt is None and not media:
        return None
    first, last = block
    keys: list[Any] = [] if adapter is None else [adapter]
    keys += [
        (each.identifier, each.first_token - first)
        for each in media
        if each.first_token < last and each.first_token + each.tokens > first
    ]
    if salt and first == 0:
        keys.append(salt)
    return tuple(keys) or None


def event_hash(name: int) -> int:
    """Return the part of a whole hash that events show: its last 64 bits, unsigned."""
    return name & ((1 << _EVENT_BITS) - 1)
