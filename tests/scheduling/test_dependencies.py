"""Producers in order: what is needed is there before, in file order otherwise; circles and gaps are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.facts import LOAD, PREFIX
from igw.scheduling.dependencies import order
from igw.scheduling.registry import Known, Need
from igw.scheduling.specs import Spec


def spec(name: str, *, needs: tuple[str, ...] = (), provides: tuple[str, ...] = ()) -> Spec:
    """Return an out-of-tree plugin."""
    known = Known(("producer",), needs=tuple(Need(fact) for fact in needs), provides=provides)
    return Spec(name, f"{name}-type", {}, f"file $.{name}", known, object)


def specs(*each: Spec) -> dict[str, Spec]:
    """Return plugins by name."""
    return {one.name: one for one in each}


def test_a_producer_comes_after_those_it_needs() -> None:
    """Whatever the order in the file; those of one level stay in file order."""
    given = specs(
        spec("c", needs=("A", "B"), provides=("C",)),
        spec("b", needs=("A",), provides=("B",)),
        spec("z", provides=("Z",)),
        spec("a", provides=("A",)),
    )
    assert order(given) == (("z", "a"), ("b",), ("c",))


def test_a_fact_that_nobody_provides_is_an_error() -> None:
    """With the plugin that needs it."""
    with pytest.raises(ConfigError, match="`a` needs the fact `B`, which no plugin provides") as caught:
        order(specs(spec("a", needs=("B",))))
    assert caught.value.where == "file $.a.type"


def test_a_circle_is_named() -> None:
    """From one plugin back to itself."""
    given = specs(spec("a", needs=("B",), provides=("A",)), spec("b", needs=("A",), provides=("B",)))
    with pytest.raises(ConfigError, match=r"in a circle: `.` -> `.` -> `.`"):
        order(given)


def test_what_is_added_has_needs_of_its_own() -> None:
    """The approximate prefix needs tokens."""
    given = specs(spec("mine", needs=(PREFIX, LOAD)))
    order(given)
    assert list(given) == ["mine", "approx-prefix-cache-producer", "inflight-load-producer", "token-producer"]


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8))
def test_every_order_has_every_producer_once_and_after_what_it_needs(needs: list[set[int]]) -> None:
    """For any graph without circles: plugin n needs only plugins before it, and the file lists them backwards."""
    each = [
        spec(str(n), needs=tuple(f"F{m}" for m in sorted(wanted) if m < n), provides=(f"F{n}",))
        for n, wanted in enumerate(needs)
    ]
    levels = order(specs(*reversed(each)))
    place = {name: index for index, level in enumerate(levels) for name in level}
    assert sorted(place) == sorted(one.name for one in each)
    for n, wanted in enumerate(needs):
        assert all(place[str(m)] < place[str(n)] for m in wanted if m < n)
