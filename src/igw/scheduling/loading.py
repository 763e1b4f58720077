"""What parameters say of loading KV cache: how large a token's is, and how fast each tier is. Whose plugins use it: those that provide `FETCHES`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from igw.config.durations import PATTERN, seconds
from igw.prefix.api import Cost

BytesPerToken = Annotated[int, Meta(gt=0)]
BYTES_PER_TOKEN = 131_072
"""Keys and values of one token of Llama 3.1 8B in 16 bits: 2 x 32 layers x 8 heads x 128 x 2 bytes."""


class TierSpeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How fast one endpoint loads from a tier."""

    bytes_per_second: Annotated[float, Meta(gt=0)] = 10e9
    latency: Annotated[str, Meta(pattern=PATTERN)] = "5ms"
    """Until the first byte is there."""

    def cost(self, bytes_per_token: int) -> Cost:
        """Return what it takes, in seconds."""
        return Cost(seconds(self.latency), bytes_per_token / self.bytes_per_second)
