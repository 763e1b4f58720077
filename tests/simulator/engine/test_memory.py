"""What a sequence finds and holds: on the GPU, on the CPU tier, on its way from another server, held for one."""

from __future__ import annotations

import pytest

from igw.simulator.engine.events import Removed, Stored
from tests.simulator.engine.scenario import STEP_TIME, Scenario, config, sequence


def test_names_are_told_as_blocks_fill_and_go() -> None:
    """Those of one step in one event; eviction from the tail."""
    scenario = Scenario(config(num_gpu_blocks=3))
    first = sequence("a", list(range(8)), 3)
    scenario.submit(first)
    scenario.run_dry()
    assert scenario.events == [Stored(first, 0, first.block_hashes[:2], "GPU")]
    second = sequence("b", list(range(20, 28)), 1)
    scenario.submit(second)
    scenario.run_dry()
    assert scenario.events[1:] == [
        Removed(first.block_hashes[1:2], "GPU"),
        Stored(second, 0, second.block_hashes[:2], "GPU"),
    ]


def test_a_block_filled_by_generated_tokens_is_told_alone() -> None:
    """With its place in the sequence, from which tokens and parent follow."""
    scenario = Scenario(config())
    each = sequence("a", [1] * 6, 4)
    scenario.submit(each)
    scenario.run_dry()
    assert scenario.events == [
        Stored(each, 0, each.block_hashes[:1], "GPU"),
        Stored(each, 1, each.block_hashes[1:2], "GPU"),
    ]


def test_a_second_copy_has_no_name_and_is_not_told() -> None:
    """Both compute the last block of the same prompt; read as a set the events are the same as vLLM's."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", list(range(8)), 9), sequence("b", list(range(8)), 9))
    scenario.step()
    assert [event.hashes for event in scenario.events if isinstance(event, Stored)] == [
        sequence("a", list(range(8)), 9).block_hashes[:2]
    ]
    assert scenario.engine.blocks.free == 64 - 3


def test_evicted_blocks_come_back_from_the_cpu_without_blocking_others() -> None:
    """`a` again finds its first block here and its second on the CPU; meanwhile `c` runs."""
    settings = config(num_gpu_blocks=4, cpu_blocks=8, cpu_load_seconds_per_block=0.25)
    scenario = Scenario(settings)
    prompt = list(range(9))
    scenario.submit(sequence("a", prompt, 1))
    scenario.run_dry()
    scenario.submit(sequence("b", list(range(20, 29)), 1))  # needs three blocks, two are blank
    scenario.run_dry()
    first = sequence("a", prompt, 1).block_hashes
    assert Removed(first[1:2], "GPU") in scenario.events
    assert Stored(None, 0, first[1:2], "CPU") in scenario.events
    submitted = scenario.now
    scenario.submit(sequence("d", prompt, 1), sequence("c", [77], 2))
    assert scenario.transcript(2) == ["c1 > c", "c1 > c!"]
    assert scenario.engine.statistics().waiting_deferred == 1
    assert scenario.engine.begin_step(scenario.now) is None
    ready = scenario.engine.wake_at()
    assert ready is not None
    assert ready == submitted + 0.25
    scenario.now = ready
    assert scenario.transcript(1) == ["d1 > d!"]
    assert scenario.cached["d"] == 8
    now = scenario.engine.statistics()
    # The last one looked for what it did not find here, 5 of its 9 tokens, and found 4.
    assert now.external_queries_tokens == 9 + 9 + 5 + 1
    assert now.external_hits_tokens == 4
    assert now.cpu_usage == pytest.approx(len(scenario.engine.blocks.names()[1]) / 8)


def test_remote_keys_and_values_arrive_while_others_run() -> None:
    """The whole prompt has its memory from the start; only the last token is computed."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 9, 2, remote_tokens=9, load_seconds=1.0), sequence("b", [2] * 4, 1))
    assert scenario.transcript(1) == ["b4 > b!"]
    now = scenario.engine.statistics()
    assert (now.running, now.waiting, now.waiting_deferred, now.kv_usage) == (0, 1, 1, 3 / 64)
    assert scenario.engine.wake_at() == 1.0
    assert scenario.engine.begin_step(0.999) is None
    scenario.now = 1.0
    assert scenario.transcript(2) == ["a1 > a", "a1 > a!"]
    assert scenario.cached["a"] == 8
    assert scenario.engine.statistics().external_hits_tokens == 8


def test_what_is_here_already_is_not_loaded() -> None:
    """A local block of four shortens the transfer of twelve by a third."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 4, 1))
    scenario.run_dry()
    began = scenario.now
    scenario.submit(sequence("b", [1] * 13, 1, remote_tokens=12, load_seconds=0.9))
    assert scenario.transcript(1) == ["idle"]
    assert scenario.engine.wake_at() == pytest.approx(began + 0.6)
    now = scenario.engine.statistics()
    assert now.external_hits_tokens == 8
    assert now.prefix_hits_tokens == 4


def test_a_transfer_that_takes_no_time_is_not_waited_for() -> None:
    """The step that admits the sequence computes its last token."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 9, 1, remote_tokens=9))
    assert scenario.transcript(1) == ["a1 > a!"]


def test_what_arrived_is_computed_here_after_a_preemption() -> None:
    """The other server has let go of it by then."""
    scenario = Scenario(config(num_gpu_blocks=4, enable_prefix_caching=False))
    scenario.submit(sequence("a", [1] * 7, 6), sequence("b", [2] * 7, 3, remote_tokens=7))
    assert scenario.transcript(4)[:3] == ["a7 b1 > a b", "a1 b1 > a b", "a1 > a"]
    scenario.run_dry()
    assert scenario.engine.statistics().preemptions == 1
    assert scenario.engine.wake_at() is None


def test_a_held_prompt_stays_in_memory_until_it_is_released() -> None:
    """The prompt's three blocks, not the fourth with what was generated."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 10, 4, hold=True))
    scenario.run_dry()
    assert scenario.ends.keys() == {"a"}
    assert scenario.engine.statistics().kv_usage == 3 / 64
    assert not scenario.engine.reset_prefix_cache()
    with pytest.raises(ValueError, match="under way"):
        scenario.submit(sequence("a", [1], 1))
    assert scenario.engine.release("a")
    assert not scenario.engine.release("a")
    assert scenario.engine.statistics().kv_usage == 0


def test_an_abort_releases_what_is_held_and_is_no_second_end() -> None:
    """It was counted when it finished."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 10, 1, hold=True))
    scenario.run_dry()
    assert scenario.engine.abort("a")
    now = scenario.engine.statistics()
    assert (now.finished_length, now.aborted, now.kv_usage) == (1, 0, 0)


def test_who_waits_for_memory_that_is_held_runs_after_the_release() -> None:
    """Nothing else would wake it."""
    scenario = Scenario(config(num_gpu_blocks=4))
    scenario.submit(sequence("a", [1] * 9, 1, hold=True), sequence("b", [2] * 9, 1))
    assert scenario.transcript(2) == ["a9 > a!", "idle"]
    assert scenario.engine.wake_at() is None
    scenario.engine.release("a")
    assert scenario.transcript(1) == ["b9 > b!"]


def test_a_prompt_that_waits_for_memory_is_not_looked_up_in_vain() -> None:
    """Yet what somebody else stores for it meanwhile is noticed."""
    scenario = Scenario(config(num_gpu_blocks=6))
    scenario.submit(sequence("a", [1] * 8, 9))
    scenario.step()
    scenario.submit(sequence("b", [1] * 8 + [2] * 8 + [3], 1), sequence("c", [1] * 8 + [2] * 8, 1))
    assert scenario.transcript(1) == ["a1 b9 > a b!"]  # shares two blocks of five
    assert scenario.cached["b"] == 8
    scenario.run_dry()
    assert scenario.cached["c"] == 12


def test_one_alone_in_the_step_time_of_its_parts() -> None:
    """A loaded sequence pays for one token only."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 9, 1, remote_tokens=9))
    assert scenario.begin().duration_seconds == STEP_TIME.seconds([(1, 8)], 0, 0, 1)
