"""Flags that are spans of time: plain seconds, or Go's form as upstream's flags take it. What they are spans of is the flag's business."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from igw.config import durations


def seconds(least: float = 0.0) -> Callable[[Any], float]:
    """Return a parser for typer: `30`, `0.05`, `50ms` and `1m30s` as seconds, not less than *least*."""

    def span(written: Any) -> float:
        try:
            found = float(written)
        except ValueError:
            found = durations.go_seconds(written)
        if not math.isfinite(found) or found < least:
            raise ValueError(f"{written!r} is not in the range of {least:g} seconds and more")
        return found

    return span
