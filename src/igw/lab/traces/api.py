"""What a reader of traces and a generator are.

The table of all of them is in `catalogue`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from igw.lab.traces.lines import Lines
from igw.lab.workload import Session


class Reader(Protocol):
    """One format of trace files: a frozen struct whose fields are its options."""

    block_tokens: ClassVar[int]
    """Size of the blocks that its turns are written in."""
    quantum_seconds: ClassVar[float]
    """What the format's times are rounded to; 0 for exact ones."""

    @classmethod
    def recognises(cls, first: str) -> bool:
        """Return whether a file that begins with this line is of the format."""
        ...

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield sessions as they are read; ConfigError with file and line for what cannot be used."""
        ...


class Generator(Protocol):
    """Sessions out of nothing but numbers: a frozen struct whose fields are its options."""

    block_tokens: ClassVar[int]

    def sessions(self) -> Iterator[Session]:
        """Yield sessions in the order of their start."""
        ...
