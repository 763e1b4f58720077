"""Regression with a memory and a prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.ridge import Ridge

PRIOR, PRECISION = (1.0, 2.0), (1.0, 1.0)


def test_without_observations_it_is_the_prior() -> None:
    """Whatever its precision."""
    assert Ridge(2, 0.99).solve(PRIOR, PRECISION) == pytest.approx(PRIOR)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(0, 1000))
def test_it_finds_what_generated_the_data(first: float, second: float, seed: int) -> None:
    """Within a few per cent after two hundred observations without noise."""
    ridge, rng = Ridge(2, 1.0), np.random.default_rng(seed)
    for _ in range(200):
        x = rng.uniform(0, 10, 2).tolist()
        ridge.learn(x, first * x[0] + second * x[1], 1.0)
    assert ridge.solve(PRIOR, PRECISION) == pytest.approx([first, second], rel=0.05)


def test_it_forgets() -> None:
    """What was true long ago weighs nothing."""
    ridge, x = Ridge(2, 0.9), (1.0, 0.0)
    for y in [100.0] * 50 + [1.0] * 200:
        ridge.learn(x, y, 1.0)
    assert ridge.solve(PRIOR, PRECISION)[0] == pytest.approx(1.0, rel=1e-3)


def test_no_coefficient_is_negative() -> None:
    """More work never takes less time."""
    ridge = Ridge(2, 1.0)
    for _ in range(50):
        ridge.learn((1.0, 1.0), 0.0, 1.0)
        ridge.learn((1.0, 0.0), 5.0, 1.0)
    assert ridge.solve(PRIOR, PRECISION)[1] == 0.0
