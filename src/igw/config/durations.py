"""Durations as seconds: those of the Gateway API (GEP-2257), such as `10s` or `1m30s`, and Go's. No other notation of time belongs here."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""What GEP-2257 allows, as a regular expression."""

GO_PATTERN = r"^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms|us|µs|ns))+)$"
"""What Go's `time.ParseDuration` takes, without signs."""

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def seconds(duration: str) -> float:
    """Return *duration* in seconds; `ValueError` where GEP-2257 does not allow it."""
    if not re.match(PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration such as 10s or 1m30s")
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", duration)
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def go_seconds(duration: str) -> float:
    """Return Go's *duration*, such as `1.5s`, in seconds; `ValueError` where it is none."""
    if not re.match(GO_PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration such as 50ms or 1m30s")
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)", duration)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
