"""What a scenario may say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from igw.lab.scenario import Add, Lose, Scenario, Slow
from tests.lab.small import singles, spec

ASKED = singles((0.0, 100, 10))


def test_the_default_cluster_is_that_of_the_published_measurements() -> None:
    """Eight servers, Qwen3-32B on two H100 each."""
    (servers,) = Scenario(name="s", workload=ASKED).servers
    engine = servers.server().engine
    assert (servers.replicas, engine.step_time.tensor_parallel) == (8, 2)
    assert (engine.max_num_seqs, engine.max_num_batched_tokens, engine.block_size) == (256, 8192, 16)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"servers": ()}, "at least one server"),
        ({"events": (Lose(8, 1.0),)}, "no server 8: there are 0 to 7"),
        ({"events": (Slow(0, 0.0, 1.0, 2.0),)}, "speed is above 0"),
        ({"pickers": 0}, "pickers must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"servers": (spec(block_size=48),)}, "blocks of 64 tokens and a server has blocks of 48"),
        ({"events": (Add(spec(block_size=24), 1.0),)}, "one must be a multiple of the other"),
        ({"scrape_interval_seconds": 0}, "scrape_interval_seconds must be above 0"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(fields: dict[str, Any], problem: str) -> None:
    """When it is written, not in the middle of a run."""
    with pytest.raises(ValueError, match=problem):
        Scenario(name="s", workload=ASKED, **fields)


def test_an_added_server_may_be_lost() -> None:
    """Its number follows those of the others."""
    Scenario(name="s", workload=ASKED, servers=(spec(2),), events=(Add(spec(), 1.0), Lose(2, 2.0)))


def test_a_scenario_can_be_written_down_and_read_again() -> None:
    """Events carry their kind."""
    scenario = Scenario(name="s", workload=ASKED, events=(Add(spec(), 1.0), Lose(2, 2.0)))
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
