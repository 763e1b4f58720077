"""How much is kept for explanations, and who may ask with the request itself. Flags are the command line's."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """Decisions are kept until either is reached; 0 of either: none is, and nothing is spent on it."""

    seconds: float = 600.0
    """`--explain-minutes`."""
    size_bytes: int = 64 << 20
    """`--explain-bytes`."""
    header: bool = False
    """`--explain-header`: whether a client that asks by `x-igw-explain: true` is told why with its answer."""

    @property
    def off(self) -> bool:
        """Whether nothing is kept."""
        return self.seconds <= 0 or self.size_bytes <= 0
