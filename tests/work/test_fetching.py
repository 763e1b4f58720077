"""Recompute, fetch, or go elsewhere: one comparison in seconds."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.cost import FETCH, Load, Work, cheapest, price
from tests.work.test_cost import RATES, promised


def work(uncached: list[float], prompt: float = 10_000) -> Work:
    """Return a request of ten thousand tokens."""
    return Work(prompt, np.array(uncached), 200)


def load(tokens: list[float], seconds: list[float]) -> Load:
    """Return what could be fetched."""
    return Load(np.array(tokens), np.array(seconds))


def test_each_candidate_does_what_is_cheaper_there() -> None:
    """A second of prefill: fetched in a tenth, computed where fetching takes longer or the prompt is there already."""
    found, chosen = cheapest(
        work([10_000, 10_000, 1]),
        [load([9_000, 9_000, 0], [0.1, 2.0, 0.0])],
        promised(3),
        RATES,
        decode_seconds=5.0,
    )
    assert chosen.tolist() == [0, -1, -1]
    assert found.terms[FETCH].tolist() == [0.1, 0.0, 0.0]
    assert found.own[0] == pytest.approx(0.1 + found.terms["prefill"][0])
    assert found.terms["prefill"][0] < found.terms["prefill"][1] / 5


def test_fetching_pays_sooner_where_others_wait() -> None:
    """What it takes is more than this request's own prefill, and less than what that would cost everybody."""
    own = float(price(work([10_000]), promised(), RATES, 5.0).own[0])
    loads = [load([9_999, 9_999], [own * 1.5] * 2)]
    _, chosen = cheapest(
        work([10_000, 10_000]), loads, promised(2, queued=[0.0, 4.0], running=[0.0, 8.0]), RATES, 5.0
    )
    assert chosen.tolist() == [-1, 0]


def test_the_best_of_several_places_is_taken() -> None:
    """A little from near, or more from far."""
    loads = [load([2_000, 2_000], [0.001, 0.001]), load([9_000, 9_000], [0.2, 5.0])]
    _, chosen = cheapest(work([10_000, 10_000]), loads, promised(2), RATES, 5.0)
    assert chosen.tolist() == [1, 0]


def test_what_is_fetched_takes_memory_as_what_is_computed_does() -> None:
    """A full endpoint waits for memory either way."""
    full = promised(free_tokens=[0.0], context_tokens=[50_000.0])
    computed = price(work([10_000]), full, RATES, 5.0)
    found, chosen = cheapest(work([10_000]), [load([9_000], [0.01])], full, RATES, 5.0)
    assert chosen.tolist() == [0]
    assert found.terms["memory"] == pytest.approx(computed.terms["memory"])


SECONDS = st.floats(0.0, 10.0)
TOKENS = st.floats(0.0, 9_999.0)


@given(
    st.lists(st.tuples(st.floats(1.0, 10_000.0), TOKENS, SECONDS, TOKENS, SECONDS), min_size=1, max_size=5),
    st.floats(0.0, 20.0),
    st.sampled_from([inf, 0.0]),
)
def test_nothing_is_cheaper_than_the_cheapest(
    rows: list[tuple[float, float, float, float, float]], queued: float, free: float
) -> None:
    """The total is the least of all prices one by one, its terms add up to it, and the choice says which it was."""
    columns = [np.array(each) for each in zip(*rows, strict=True)]
    uncached = columns[0]
    loads = [
        Load(np.minimum(tokens, uncached - 1.0).clip(0.0), seconds)
        for tokens, seconds in (columns[1:3], columns[3:5])
    ]
    there = promised(len(rows), queued=queued, free_tokens=free, context_tokens=1e5)
    asked = Work(10_000, uncached, 200)
    found, chosen = cheapest(asked, loads, there, RATES, 5.0)
    single = [price(asked, there, RATES, 5.0).total]
    for each in loads:
        less = Work(10_000, uncached - each.tokens, 200, {FETCH: each.seconds}, each.tokens)
        total = price(less, there, RATES, 5.0).total
        single.append(np.where(each.tokens > 0.0, total, np.inf))
    assert found.total == pytest.approx(np.min(single, axis=0))
    assert found.total == pytest.approx(sum(found.terms.values()))
    assert np.take_along_axis(np.array(single), chosen[None] + 1, axis=0)[0] == pytest.approx(found.total)
