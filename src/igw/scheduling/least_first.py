"""The scale that upstream's scorers of queue and batch share: from the least, 1, to the most, 0, among the candidates."""

from __future__ import annotations

import numpy as np

from igw.facts import Column


def least_first(column: Column) -> Column:
    """Return (max - x) / (max - min); 1 for all when they are equal. Shape: [candidates], at least one."""
    most = column.max()
    span = most - column.min()
    if span == 0:
        return np.ones(len(column))
    return (most - column) / span  # type: ignore[no-any-return]
