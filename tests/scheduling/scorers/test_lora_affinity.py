"""`lora-affinity-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Adapters, Facts
from igw.request import Head, Request
from igw.scheduling.scorers.lora_affinity import LoraAffinityScorer


def engine(running: str = "", waiting: str = "", most: int = 2) -> Adapters:
    """Return what an engine says; adapters are written with blanks between them."""
    return Adapters(frozenset(running.split()), frozenset(waiting.split()), most, "base")


def scored(model: str, *engines: Adapters) -> list[float]:
    """Return the scores of these engines."""
    none = np.zeros(len(engines))
    column = np.array(engines, dtype=object)
    facts = Facts(none, none, none, none, none, adapters=column)
    return LoraAffinityScorer().score(Request(Head("/", "GET", {}), model=model), facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("of", "score"),
    [
        (engine(running="poet"), 1.0),
        (engine(running="poet lawyer"), 1.0),
        (engine(running="poet", waiting="poet", most=1), 1.0),
        (engine(), 0.8),
        (engine(running="lawyer"), 0.8),
        (engine(running="lawyer", waiting="poet", most=3), 0.8),
        (engine(running="lawyer", waiting="poet"), 0.6),
        (engine(waiting="poet", most=1), 0.6),
        (engine(running="lawyer cook"), 0.0),
        (engine(running="lawyer", waiting="cook"), 0.0),
        (engine(most=0), 0.0),
    ],
)
def test_an_adapter_scores_by_tiers(of: Adapters, score: float) -> None:
    """Running 1, room for one more 0.8, waiting 0.6, else 0; in this order."""
    assert scored("poet", of) == [score]


def test_weak_spot_10_an_adapter_that_runs_and_waits_takes_one_place() -> None:
    """VLLM fills both lists from the same requests, so that counting both would find an engine full at half."""
    assert scored("poet", engine(running="lawyer", waiting="lawyer")) == [0.8]


def test_weak_spot_10_requests_for_the_base_model_have_no_preference() -> None:
    """They need no adapter, so they must not be drawn to engines that have few."""
    assert scored("base", engine(running="poet lawyer"), engine()) == [0, 0]


def test_nothing_is_preferred_where_nothing_is_known() -> None:
    """A request without a model, engines that say nothing, a pool nobody reported of."""
    assert scored("", engine(running="poet"), engine()) == [0, 0]
    assert scored("poet", Adapters(), Adapters()) == [0, 0]
    none = np.zeros(2)
    facts = Facts(none, none, none, none, none)
    assert LoraAffinityScorer().score(Request(Head("/", "GET", {}), model="poet"), facts).tolist() == [0, 0]


def test_candidates_that_are_left_keep_their_own_adapters() -> None:
    """Filters narrow this column too."""
    none = np.zeros(3)
    column = np.array([engine(running="cook lawyer"), engine(running="poet"), engine()], dtype=object)
    facts = Facts(none, none, none, none, none, adapters=column).narrowed(np.array([False, True, True]))
    assert LoraAffinityScorer().score(Request(Head("/", "GET", {}), model="poet"), facts).tolist() == [1, 0.8]
