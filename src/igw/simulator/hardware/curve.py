"""Milliseconds by a count, from measured points.

What the points mean belongs to whoever holds the curve.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Straight lines through points with rising `counts` (at least two); ValueError for anything else."""

    counts: tuple[int, ...]
    milliseconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.counts) < 2 or len(self.counts) != len(self.milliseconds):
            raise ValueError("a curve needs at least two counts and as many milliseconds")
        if any(right <= left for left, right in zip(self.counts, self.counts[1:], strict=False)):
            raise ValueError("the counts of a curve must rise")

    def at(self, count: int) -> float:
        """Interpolate linearly; level before the first point, along the last slope after the last."""
        counts, values = self.counts, self.milliseconds
        if count <= counts[0]:
            return values[0]
        right = min(bisect_right(counts, count), len(counts) - 1)
        left = right - 1
        slope = (values[right] - values[left]) / (counts[right] - counts[left])
        return values[left] + slope * (count - counts[left])
