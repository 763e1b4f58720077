"""Service level objectives as they are written: annotations of an InferenceObjective or an InferencePool. Whether they are met is `igw.outcomes`' business."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from igw.config.durations import seconds
from igw.errors import ConfigError

TTFT = "igw.dev/slo-ttft"
"""The first token is to come within this time."""
TPOT = "igw.dev/slo-tpot"
"""And each further one, on the average of an answer."""
E2E = "igw.dev/slo-e2e"
"""The whole answer is to come within this time."""
TARGET = "igw.dev/slo-target"
"""Of so many requests, as a share or in per cent: `0.99` or `99%`."""

ANNOTATIONS = (TTFT, TPOT, E2E, TARGET)
_DEFAULT_TARGET = 0.99


class Slo(msgspec.Struct, frozen=True):
    """What requests are to take at most, in seconds; None: nobody says."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    e2e_seconds: float | None = None
    target: float | None = None
    """The share of requests that is to; between 0 and 1."""

    @property
    def share(self) -> float:
        """The target, or the default."""
        return _DEFAULT_TARGET if self.target is None else self.target

    def over(self, other: Slo) -> Slo:
        """Return this, and what *other* says where this says nothing."""
        return Slo(*[
            theirs if mine is None else mine
            for mine, theirs in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        ])  # fmt: skip


def slo(annotations: Mapping[str, str]) -> Slo:
    """Return what *annotations* say.

    Raises:
        ConfigError: a value that is no duration above 0, or no share; its `where` is the annotation.
    """
    return Slo(
        _duration(annotations, TTFT),
        _duration(annotations, TPOT),
        _duration(annotations, E2E),
        _share(annotations),
    )


def _duration(annotations: Mapping[str, str], name: str) -> float | None:
    written = annotations.get(name)
    if written is None:
        return None
    try:
        found = seconds(written)
    except ValueError as error:
        raise ConfigError(name, str(error)) from error
    if found <= 0:
        raise ConfigError(name, f"{written!r} cannot be met", "such as 500ms; leave it out for no objective")
    return found


def _share(annotations: Mapping[str, str]) -> float | None:
    written = annotations.get(TARGET)
    if written is None:
        return None
    try:
        share = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(
            TARGET, f"{written!r} is no share of requests below all of them", "such as 0.99 or 99%"
        )
    return share
