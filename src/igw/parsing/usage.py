"""Token counts at the end of an answer: the last `usage` object in the last bytes of JSON or of a stream of events.

The rest of an answer is never read.
"""

from __future__ import annotations

import re

import msgspec

TAIL_BYTES = 8192
"""How much of an answer's end is kept to look for usage; the same figure as in Envoy's tail scan."""

_NUMBERS = re.compile(rb'"([a-z_]+)"\s*:\s*(\d+)')


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request as the model server counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


def usage_in(tail: bytes) -> Usage:
    """Return the usage at the end of an answer whose last bytes are *tail*."""
    at = tail.rfind(b'"usage"')
    # `"usage":null` comes with every chunk but the last of some streams; an object is wanted.
    while at >= 0 and not re.match(rb'"usage"\s*:\s*\{', tail[at : at + 64]):
        at = tail.rfind(b'"usage"', 0, at)
    if at < 0:
        return Usage()
    found = {name: int(value) for name, value in _NUMBERS.findall(tail, at)}
    return Usage(
        prompt_tokens=found.get(b"prompt_tokens", found.get(b"input_tokens")),
        completion_tokens=found.get(b"completion_tokens", found.get(b"output_tokens")),
        cached_tokens=found.get(b"cached_tokens", found.get(b"cache_read_input_tokens")),
    )
