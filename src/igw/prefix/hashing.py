"""A prompt -> hashes of its leading blocks, each standing for the whole prefix up to its end.

Engine-exact hashes (vLLM's, from token ids) are another matter; these are our own, compared only with each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64

BLOCK_BYTES = 256
"""64 tokens of 4 bytes, upstream's smallest effective block."""

MAX_BLOCKS = 2048
"""131,072 tokens, upstream's `maxPrefixTokensToMatch`. Beyond it prompts count as equal."""


def block_hashes(seed: bytes, parts: Iterable[memoryview], max_blocks: int = MAX_BLOCKS) -> list[int]:
    """Return one hash per full block of *parts*, which are read as one text.

    A running digest is taken at every block border, so equal hashes mean equal prefixes (up to collisions of xxh3-64).
    The last, partial block is left out: it can almost never match.
    """
    digest = xxh3_64(seed)
    update, value = digest.update, digest.intdigest
    hashes: list[int] = []
    room = BLOCK_BYTES  # bytes left in the block that is being filled
    for part in parts:
        at, end = 0, part.nbytes
        while end - at >= room:
            if len(hashes) == max_blocks:
                return hashes
            update(part[at : at + room])
            hashes.append(value())
            at += room
            room = BLOCK_BYTES
        if at < end:
            update(part[at:])
            room -= end - at
    return hashes
