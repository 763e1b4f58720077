"""What servers and pickers see of a turn: the hashes of its blocks and the bytes of its prompt.

Which turns there are is `workload`; what is done with hashes and bytes is the engine's and the prefix index's.
"""

from __future__ import annotations

import numpy as np

from igw.lab import blocks
from igw.lab.workload import Turn
from igw.prefix.hashing import BYTES_PER_TOKEN

ID_TOKENS = 8 // BYTES_PER_TOKEN
"""Tokens that one block id covers, written as 8 bytes."""


def block_hashes(turn: Turn, block_tokens: int, engine_block_tokens: int) -> tuple[int, ...]:
    """Return one number per full engine block of prompt and output: equal numbers mean equal text up to there.

    Shape: [(prompt + output tokens) // engine_block_tokens]. ValueError unless one block size is a multiple of the other.
    Numbers of different engine block sizes have nothing to do with each other.
    """
    count = (turn.prompt_tokens + turn.output_tokens) // engine_block_tokens
    parts, rest = divmod(block_tokens, engine_block_tokens)
    if not rest:
        return tuple(blocks.ids(turn.runs, count, parts))
    group, rest = divmod(engine_block_tokens, block_tokens)
    if not rest:
        # The last block of a group stands for all before it, because an id stands for the whole text up to its end.
        return tuple(blocks.ids(turn.runs, count * group))[group - 1 :: group]
    raise ValueError(
        f"blocks of {block_tokens} tokens in the trace and of {engine_block_tokens} in the engine: "
        "one must be a multiple of the other"
    )


def prompt(turn: Turn, block_tokens: int) -> list[memoryview]:
    """Return the prompt as bytes, four a token: equal ids give equal bytes, other ids other bytes.

    Each id fills its block, 8 bytes little-endian, again and again. ValueError for an odd block size.
    """
    times, odd = divmod(block_tokens, ID_TOKENS)
    if odd:
        raise ValueError(f"blocks of {block_tokens} tokens: an even number is needed")
    if not turn.prompt_tokens:
        return []
    count = blocks.started(turn.prompt_tokens, block_tokens)
    ids = np.fromiter(blocks.ids(turn.runs, count), dtype="<u8", count=count)
    return [memoryview(ids.repeat(times).tobytes())[: turn.prompt_tokens * BYTES_PER_TOKEN]]
