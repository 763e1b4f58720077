"""Which requests have a trace, and what is said of it to those before and behind us: W3C Trace Context, level 1. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from igw.errors import ConfigError

TRACEPARENT = "traceparent"
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_LOW = (1 << 64) - 1
_SAMPLER, _ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_DEFAULT = "parentbased_traceidratio"
_DEFAULT_RATIO = 0.01
"""Upstream's is ten times as much. A traced request costs more than its decision, and one in a hundred shows what there is to see."""


class Parent(msgspec.Struct, frozen=True):
    """What a caller says of the trace that its request belongs to."""

    trace_id: str
    sampled: bool


class Sampler(msgspec.Struct, frozen=True):
    """Chooses requests."""

    ratio: float = _DEFAULT_RATIO
    follows_parent: bool = True
    """Whether a caller that has a trace has chosen already."""

    def wants(self, parent: Parent | None, random: Callable[[], float]) -> bool:
        """Return whether a request is to have a trace of ours."""
        if parent is None:
            return random() < self.ratio
        if self.follows_parent:
            return parent.sampled
        # By the id, so that everybody with the same ratio chooses the same ones.
        return (int(parent.trace_id, 16) & _LOW) < self.ratio * (_LOW + 1)


_SAMPLERS: dict[str, Callable[[float], Sampler]] = {
    "always_on": lambda _ratio: Sampler(1.0, follows_parent=False),
    "always_off": lambda _ratio: Sampler(0.0, follows_parent=False),
    "traceidratio": lambda ratio: Sampler(ratio, follows_parent=False),
    "parentbased_always_on": lambda _ratio: Sampler(1.0),
    "parentbased_always_off": lambda _ratio: Sampler(0.0),
    _DEFAULT: Sampler,
}


def sampler(environment: Mapping[str, str]) -> Sampler:
    """Return the one that OpenTelemetry's variables name.

    Raises:
        ConfigError: there is no such sampler or ratio.
    """
    name = environment.get(_SAMPLER) or _DEFAULT
    if name not in _SAMPLERS:
        raise ConfigError(f"${_SAMPLER}", f"there is no sampler `{name}`", "known: " + ", ".join(_SAMPLERS))
    written = environment.get(_ARGUMENT) or str(_DEFAULT_RATIO)
    try:
        ratio = float(written)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(f"${_ARGUMENT}", f"`{written}` is no share of requests", "0 to 1")
    return _SAMPLERS[name](ratio)


def parent(headers: Mapping[str, Any]) -> Parent | None:
    """Return what the header `traceparent` says; None where there is none that can be read."""
    written = headers.get(TRACEPARENT)
    if written is None:
        return None
    found = _FORM.fullmatch(written)
    if found is None or (found[1] == "00" and found[5]):  # later versions may say more
        return None
    return Parent(found[2], bool(int(found[4], 16) & _SAMPLED))


def traceparent(trace_id: int, span_id: int, *, sampled: bool) -> str:
    """Return the header that says so."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if sampled else '00'}"
