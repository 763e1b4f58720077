"""A value per endpoint that only depends on the endpoint itself, such as a label, kept for as long as the candidates are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from igw.endpoint import Endpoint


class ByEndpoint:
    """An array in candidate order. A pool's snapshot is one tuple that many requests share, so it is computed once for all of them."""

    def __init__(self, value_of: Callable[[Endpoint], Any], dtype: DTypeLike) -> None:
        self._value_of = value_of
        self._dtype = dtype
        self._endpoints: tuple[Endpoint, ...] = ()
        self._values: NDArray[Any] = np.zeros(0, dtype=dtype)

    def __call__(self, endpoints: tuple[Endpoint, ...]) -> NDArray[Any]:
        """Return the values of *endpoints*, not to be written to. Shape: [candidates]."""
        if endpoints is not self._endpoints:
            self._values = np.empty(len(endpoints), dtype=self._dtype)
            for row, endpoint in enumerate(endpoints):
                self._values[row] = self._value_of(endpoint)
            self._values.flags.writeable = False
            self._endpoints = endpoints
        return self._values
