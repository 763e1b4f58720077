"""What an engine tells about the names in its KV memory: stored, removed, cleared. How that is published is not decided here."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from igw.simulator.engine.sequence import Sequence

Medium = Literal["GPU", "CPU"]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """Full blocks can be found under their names from now on; in one event they follow each other in one sequence.

    `first_block` is the index of the first one in `sequence`. Both are known on the GPU only: what falls to the CPU
    tier is a list of names whose sequence may be long gone (`sequence` None, `first_block` 0). vLLM does the same,
    its CPU blocks are published without tokens.

    vLLM publishes one more `BlockStored` for every further copy of a name, and a `BlockRemoved` when that copy goes.
    Copies have no name here and so cause no event; read as a set, both tell the same.
    """

    sequence: Sequence | None
    first_block: int
    hashes: tuple[int, ...]
    medium: Medium


class Removed(msgspec.Struct, frozen=True, gc=False):
    """Names that were evicted from one tier, in the order of eviction."""

    hashes: tuple[int, ...]
    medium: Medium


class Cleared(msgspec.Struct, frozen=True, gc=False):
    """Every name on every tier is gone: the prefix cache was reset, or the engine fell asleep."""


KvEvent: TypeAlias = Stored | Removed | Cleared
