"""One scheduling profile: filters one after another, weighted scorers, summed, and a picker. It does not know its plugins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Picker, Ranking, Scorer


class Weighted(msgspec.Struct, frozen=True):
    """A scorer as one profile uses it."""

    name: str
    scorer: Scorer
    weight: float
    out_of_range: Callable[[], None] | None = None
    """Told of every column that has to be clamped."""


class Filtering(msgspec.Struct, frozen=True):
    """A filter as one profile uses it."""

    name: str
    filter: Filter


class Profile(msgspec.Struct, frozen=True):
    """Ranks the candidates of one request."""

    scorers: tuple[Weighted, ...]
    picker: Picker
    filters: tuple[Filtering, ...] = ()

    def run(self, request: Request, facts: Facts) -> Ranking:
        """Return the best candidates; none are picked if the filters leave nobody. *facts* has at least one candidate."""
        count = len(facts.inflight)
        rows: NDArray[np.intp] | None = None  # None: everybody is left
        left_out: dict[str, Sequence[int]] = {}
        for filtering in self.filters:
            keep = filtering.filter.keep(request, facts)
            if keep.all():
                continue
            rows = np.arange(count) if rows is None else rows
            left_out[filtering.name] = rows[~keep].tolist()
            rows, facts = rows[keep], facts.narrowed(keep)
            if not len(rows):
                return Ranking((), {}, left_out)
        totals = np.zeros(len(facts.inflight))
        scores: dict[str, Column] = {}
        for weighted in self.scorers:
            column = weighted.scorer.score(request, facts)
            # `argmin` and `argmax` find NaN, which is in no range; they take a third of the time of `min` and `max`.
            if not (column.item(column.argmin()) >= 0.0 and column.item(column.argmax()) <= 1.0):
                column = _clamped(column)
                if weighted.out_of_range is not None:
                    weighted.out_of_range()
            scores[weighted.name] = column = column * weighted.weight
            totals += column
        picked = self.picker.pick(totals, facts)
        if rows is None:
            return Ranking(picked, scores)
        wide = {name: _widened(column, rows, count) for name, column in scores.items()}
        return Ranking(rows[list(picked)].tolist(), wide, left_out)


def _clamped(column: Column) -> Column:
    """Return *column* within 0 and 1, NaN as 0: one plugin's mistake must not poison the sum."""
    clamped: Column = np.fmin(np.fmax(column, 0.0), 1.0)
    return clamped


def _widened(column: Column, rows: NDArray[np.intp], count: int) -> Column:
    wide = np.full(count, np.nan)
    wide[rows] = column
    return wide
