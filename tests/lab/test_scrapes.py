"""What a picker knows of its servers, and when."""

from __future__ import annotations

from itertools import pairwise

from igw.lab.scenario import Lose, Restore
from igw.lab.workload import Session
from igw.lab.world import World
from tests.lab.small import Kept, singles, spec, turn, workload, world


def until(running: World, time: float) -> None:
    while running.clock.advance(time):
        pass


def test_metrics_are_as_old_as_the_last_scrape() -> None:
    """An idle pool is asked every second: at 0.9 s nothing is known of what began at 0.5 s, at 1.5 s it is."""
    kept = Kept()
    running = world(singles((0.5, 500, 2000), (0.9, 500, 2000), (1.5, 500, 2000)), spec(), kept)
    until(running, 1.6)
    shown = kept.built[0].shown
    assert [time for time, _ in shown] == [0.5, 0.9, 1.5]
    assert [facts.running.tolist() for _, facts in shown] == [[0], [0], [2]]
    assert [facts.inflight.tolist() for _, facts in shown] == [[0], [1], [2]]


def test_a_busy_pool_is_asked_more_often() -> None:
    """Once in the time of two picks, at the shortest the interval."""
    kept = Kept()
    arrivals = [(n / 100, 100, 1000) for n in range(300)]
    running = world(singles(*arrivals), spec(), kept, scrape_interval_seconds=0.1)
    until(running, 3.0)
    shown = kept.built[0].shown
    ages, changed = [], 0.0
    for (_, before), (time, facts) in pairwise(shown):
        if facts.running[0] != before.running[0]:
            ages.append(time - changed)
            changed = time
    assert 0.09 < min(ages[2:]) <= max(ages[2:]) < 0.13


def test_a_server_that_misses_three_scrapes_is_no_candidate_until_it_is_back() -> None:
    """As in the product: at once where there is doubt, and its cache is forgotten."""
    shared = workload(
        *(Session(f"s{n}", (turn(2048, 1, first=0),), at) for n, at in enumerate((0.5, 4.0, 8.0)))
    )
    kept = Kept()
    running = world(shared, spec(2), kept, events=(Lose(0, 2.0), Restore(0, 5.0)))
    until(running, 9.0)
    first, second, third = (facts for _, facts in kept.built[0].shown)
    assert len(first.endpoints) == 2
    assert [endpoint.name for endpoint in second.endpoints] == ["server-1"]
    assert len(third.endpoints) == 2
    assert third.matched_tokens[0] == 0


def test_the_index_learns_how_much_a_server_holds() -> None:
    """As `cache_config_info` tells the product."""
    running = world(singles((5.0, 100, 1)), spec(num_gpu_blocks=300))
    until(running, 1.0)
    prefix = running.pickers[0].prefix
    slot = prefix.slot_of("10.0.0.1:8000")
    assert slot is not None
    assert prefix._beliefs[slot].nominal_tokens == 4800
