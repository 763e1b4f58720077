"""A prompt -> hashes of its leading blocks, each standing for the whole prefix up to its end.

Engine-exact hashes (vLLM's, from token ids) are another matter; these are our own, compared only with each other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate

import numpy as np
from xxhash import xxh3_64

from igw.facts import Column

BYTES_PER_TOKEN = 4
"""Upstream's rule without a tokenizer."""

BLOCK_BYTES: tuple[int, ...] = (256,) * 64 + (1024,) * 112 + (4096,) * 96
"""Size of each block, from the prompt's start: 256 bytes (upstream's smallest effective block) up to 16 KiB, 1 KiB up to 128 KiB,
4 KiB up to 512 KiB. A match is a whole number of blocks, so beyond 16 KiB it is short by less than 1/16 of itself, and a prompt
of any length costs few steps.
"""

_BORDERS: tuple[int, ...] = tuple(accumulate(BLOCK_BYTES))

MAX_BLOCKS = len(BLOCK_BYTES)
"""131,072 tokens in all, upstream's `maxPrefixTokensToMatch`. Beyond it prompts count as equal."""

BLOCK_TOKENS: tuple[int, ...] = tuple(size // BYTES_PER_TOKEN for size in BLOCK_BYTES)
"""Tokens of each block, from the prompt's start."""

_TOKENS: tuple[int, ...] = tuple(accumulate(BLOCK_TOKENS, initial=0))

TOKENS: Column = np.array(_TOKENS, dtype=np.float64)
"""Tokens of the first so many blocks. Shape: [MAX_BLOCKS + 1]; read only."""
TOKENS.flags.writeable = False


tokens_at: Callable[[int], int] = _TOKENS.__getitem__
"""Returns the tokens of the first so many blocks."""


def depth_at(tokens: int) -> int:
    """Return how many leading blocks fit into *tokens*: the inverse of `tokens_at`."""
    return bisect_right(_TOKENS, tokens) - 1


def block_hashes(seed: bytes, parts: Iterable[memoryview]) -> list[int]:
    """Return one hash per full block of *parts*, which are read as one text; at most `MAX_BLOCKS`.

    A running digest is taken at every block border, so equal hashes mean equal prefixes (up to collisions of xxh3-64).
    The last, partial block is left out: it can almost never match.
    """
    digest = xxh3_64(seed)
    update, value = digest.update, digest.intdigest
    hashes: list[int] = []
    before = 0  # bytes of the parts before this one
    for part in parts:
        at, full = 0, bisect_right(_BORDERS, before + part.nbytes)
        for border in _BORDERS[len(hashes) : full]:
            end = border - before
            update(part[at:end])
            hashes.append(value())
            at = end
        if full == MAX_BLOCKS:
            break
        update(part[at:])
        before += part.nbytes
    return hashes
