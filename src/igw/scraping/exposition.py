"""Finding a few series in a Prometheus text page without parsing the rest of it.

Source: Prometheus text exposition format 0.0.4; OpenMetrics differs in ways that do not matter here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache

_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ENDS_NAME = (b"{", b" ", b"\t")


def series(page: bytes, name: bytes) -> Iterator[tuple[bytes, float]]:
    """Yield (labels as written, value) of every series of *name* on *page*. NaN and infinite values are left out."""
    at = 0 if page.startswith(name) else page.find(b"\n" + name) + 1
    while at > 0 or page.startswith(name, at):
        end = page.find(b"\n", at)
        line = page[at : end if end >= 0 else len(page)]
        if (sample := _sample(line[len(name) :])) is not None:
            yield sample
        if end < 0:
            return
        # Series of one family stand together, so usually the next line is the next one.
        at = end + 1 if page.startswith(name, end + 1) else page.find(b"\n" + name, end) + 1
        if at == 0:
            return


def group(page: bytes, name: bytes) -> list[tuple[bytes, float]]:
    """Return the series of the gauge or counter *name*, as `series` does, without looking at what comes after them.

    The format asks that the lines of a family stand together; that spares most of a page. Not for the buckets of histograms,
    which have sums and counts between them.
    """
    found: list[tuple[bytes, float]] = []
    length, size = len(name), len(page)
    at = 0 if page.startswith(name) else page.find(b"\n" + name) + 1
    met = False
    while at or page.startswith(name):
        end = page.find(b"\n", at)
        if end < 0:
            end = size
        if page[at + length : at + length + 1] in _ENDS_NAME:
            met = True
            if (sample := _sample(page[at + length : end])) is not None:
                found.append(sample)
        if page.startswith(name, end + 1):
            at = end + 1
            continue
        # A longer name that begins alike may come first.
        at = 0 if met else page.find(b"\n" + name, end) + 1
        if not at:
            break
    return found


def _sample(rest: bytes) -> tuple[bytes, float] | None:
    """Read what follows a metric's name on a line; None if the name goes on (`_total`, say) or there is no number."""
    if rest[:1] == b"{":
        close = rest.rfind(b"}")
        labels, rest = rest[1:close], rest[close + 1 :]
    elif rest[:1] in (b" ", b"\t"):
        labels = b""
    else:
        return None
    fields = rest.split(None, 1)
    try:
        value = float(fields[0])
    except (IndexError, ValueError):
        return None
    return (labels, value) if math.isfinite(value) else None


@lru_cache(maxsize=2048)
def label(labels: bytes, name: bytes) -> str | None:
    """Return the value of one label of a series, or None. What was asked lately is remembered: labels hardly change."""
    for match in _LABEL.finditer(labels):
        if match[1] == name:
            return _ESCAPE.sub(_unescaped, match[2].decode("utf-8", "replace"))
    return None


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
