"""Gateway API durations (GEP-2257), such as `10s` or `1m30s`, as seconds. No other notation of time belongs here."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""What GEP-2257 allows, as a regular expression."""

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Return *duration* in seconds; `ValueError` where GEP-2257 does not allow it."""
    if not re.match(PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration such as 10s or 1m30s")
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", duration)
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
