"""`token-producer`: how long the prompt is, in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from igw.facts import TOKENS, Facts
from igw.request import Request
from igw.scheduling.api import Producer


class TokenProducer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Four bytes are a token, upstream's rule without a tokenizer (its backend `estimate`). `Request` carries that number anyway."""

    type: ClassVar[str] = "token-producer"
    provides: ClassVar[tuple[str, ...]] = (TOKENS,)

    estimate: dict[str, Any] | None = None
    """Accepted; sizes of images, videos and audio are not estimated yet."""

    @property
    def idle(self) -> bool:
        """Nothing is left to do per request."""
        return True

    def produce(self, _request: Request, _facts: Facts, /) -> Mapping[str, Any]:
        """Add nothing."""
        return {}


_: type[Producer] = TokenProducer
