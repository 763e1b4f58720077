"""Finding a few series in a Prometheus text page without parsing the rest of it.

Source: Prometheus text exposition format 0.0.4; OpenMetrics differs in ways that do not matter here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


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


def label(labels: bytes, name: bytes) -> str | None:
    """Return the value of one label of a series, or None."""
    for found, value in _LABEL.findall(labels):
        if found == name:
            return _ESCAPE.sub(_unescaped, value.decode("utf-8", "replace"))
    return None


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
