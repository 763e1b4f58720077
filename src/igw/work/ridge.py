"""Linear regression that learns as it goes, forgets slowly and starts from a guess."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]


class Ridge:
    """Weighted least squares with exponential forgetting and a prior; coefficients are never negative.

    Minimises `sum v (y - c.x)^2 + sum precision_i (c_i - prior_i)^2` over what was seen, older observations weighing less.
    """

    def __init__(self, size: int, forgetting: float) -> None:
        self._forgetting = forgetting
        self._squares = np.zeros((size, size))
        self._products = np.zeros(size)

    def learn(self, x: Vector, y: float, weight: float) -> None:
        """Take in one observation."""
        self._squares *= self._forgetting
        self._products *= self._forgetting
        weighted = x * weight
        self._squares += np.outer(weighted, x)
        self._products += weighted * y

    def solve(self, prior: Vector, precision: Vector) -> Vector:
        """Return the coefficients; without observations they are *prior*. Every precision must be above zero."""
        squares = self._squares + np.diag(precision)
        coefficients: Vector = np.maximum(np.linalg.solve(squares, self._products + precision * prior), 0.0)
        return coefficients
