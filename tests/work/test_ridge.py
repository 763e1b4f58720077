"""Regression with a memory and a prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.ridge import Ridge

PRIOR, PRECISION = (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)


def test_without_observations_it_is_the_prior() -> None:
    """Whatever its precision."""
    assert Ridge(0.99).solve(PRIOR, PRECISION) == pytest.approx(PRIOR)


@given(st.tuples(*[st.floats(0.1, 10)] * 3), st.integers(0, 1000))
def test_it_finds_what_generated_the_data(truth: tuple[float, float, float], seed: int) -> None:
    """Within a few per cent after two hundred observations without noise."""
    ridge, rng = Ridge(1.0), np.random.default_rng(seed)
    for _ in range(200):
        a, b, c = rng.uniform(0, 10, 3).tolist()
        ridge.learn((a, b, c), truth[0] * a + truth[1] * b + truth[2] * c, 1.0)
    assert ridge.solve(PRIOR, PRECISION) == pytest.approx(truth, rel=0.05)


@given(st.lists(st.tuples(*[st.floats(0.01, 10)] * 5), min_size=1, max_size=20), st.floats(0.9, 1.0))
def test_it_is_the_solution_of_the_normal_equations(seen: list[tuple[float, ...]], keep: float) -> None:
    """As NumPy solves them, where no coefficient would be negative."""
    ridge, squares, products = Ridge(keep), np.diag(PRECISION), np.multiply(PRIOR, PRECISION)
    for age, (a, b, c, y, weight) in enumerate(reversed(seen)):
        x = np.array([a, b, c])
        squares = squares + keep**age * weight * np.outer(x, x)
        products = products + keep**age * weight * y * x
    for a, b, c, y, weight in seen:
        ridge.learn((a, b, c), y, weight)
    expected = np.linalg.solve(squares, products)
    assert ridge.solve(PRIOR, PRECISION) == pytest.approx(np.maximum(expected, 0.0), rel=1e-6, abs=1e-6)


def test_it_forgets() -> None:
    """What was true long ago weighs nothing."""
    ridge, x = Ridge(0.9), (1.0, 0.0, 0.0)
    for y in [100.0] * 50 + [1.0] * 200:
        ridge.learn(x, y, 1.0)
    assert ridge.solve(PRIOR, PRECISION)[0] == pytest.approx(1.0, rel=1e-3)


def test_no_coefficient_is_negative() -> None:
    """More work never takes less time."""
    ridge = Ridge(1.0)
    for _ in range(50):
        ridge.learn((1.0, 1.0, 0.0), 0.0, 1.0)
        ridge.learn((1.0, 0.0, 0.0), 5.0, 1.0)
    assert ridge.solve(PRIOR, PRECISION)[1] == 0.0
