"""The scheduler: transcripts of small scenarios in virtual time. Any traffic at all is in `test_reference`."""

from __future__ import annotations

from typing import Any

import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.engine.events import Cleared
from igw.simulator.engine.sequence import Sequence
from tests.simulator.engine.scenario import STEP_TIME, Scenario, config, generated, sequence


def test_a_long_prompt_is_prefilled_in_chunks_behind_the_decodes() -> None:
    """The decode goes first; the rest of the 16 tokens is prompt, then the next prompt gets what is left."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1, 2], 4))
    assert scenario.transcript(1) == ["a2 > a"]
    scenario.submit(sequence("b", list(range(20)), 2), sequence("c", [7] * 8, 1))
    assert scenario.transcript(4) == ["a1 b15 > a", "a1 b5 c8 > a b c!", "a1 b1 > a! b!", "idle"]


def test_the_batch_holds_at_most_max_num_seqs() -> None:
    """The third waits for a slot, not for memory."""
    scenario = Scenario(config(max_num_seqs=2))
    scenario.submit(*(sequence(name, [ord(name)], 2) for name in "abc"))
    assert scenario.transcript(4) == ["a1 b1 > a b", "a1 b1 > a! b!", "c1 > c", "c1 > c!"]
    assert scenario.engine.statistics().waiting == 0


def test_the_last_admitted_is_preempted_and_computes_its_tokens_again() -> None:
    """Four blocks for two sequences that need three each: `b` gives way, then finds its own first block cached."""
    scenario = Scenario(config(num_gpu_blocks=4))
    scenario.submit(sequence("a", [1] * 7, 4), sequence("b", [2] * 7, 4))
    assert scenario.transcript(7) == [
        "a7 b7 > a b",
        "a1 b1 > a b",
        "a1 > a",  # `a` needs a third block: `b` is preempted and nobody is admitted in that step
        "a1 > a!",
        "b5 > b",  # 9 tokens known, 4 of them still cached
        "b1 > b!",
        "idle",
    ]
    assert scenario.engine.statistics().preemptions == 1
    assert scenario.tokens["b"] == [1, 2, 3, 4]


def test_a_preempted_sequence_goes_before_those_that_never_ran() -> None:
    """It was there first."""
    scenario = Scenario(config(num_gpu_blocks=4))
    scenario.submit(sequence("a", [1] * 7, 4), sequence("b", [2] * 7, 4))
    scenario.transcript(2)
    scenario.submit(sequence("c", [3], 1))
    assert scenario.transcript(3) == ["a1 > a", "a1 > a!", "b5 c1 > b c!"]


def test_a_prompt_is_admitted_only_when_all_of_it_fits() -> None:
    """As with scheduler_reserve_full_isl in vLLM: otherwise its first chunk would run only to be preempted."""
    scenario = Scenario(config(num_gpu_blocks=6, max_num_batched_tokens=8))
    scenario.submit(sequence("a", [1] * 8, 5), sequence("b", [2] * 20, 1))
    assert scenario.transcript(5) == ["a8 > a", "a1 > a", "a1 > a", "a1 > a", "a1 > a!"]
    assert scenario.transcript(3) == ["b8 >", "b8 >", "b4 > b!"]


def test_the_second_turn_computes_only_what_is_new() -> None:
    """Prompt and answer of the first turn are found by full blocks, generated tokens included."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", list(range(10)), 6))
    assert scenario.transcript(6)[0] == "a10 > a"
    scenario.submit(sequence("b", [*range(10), *generated("a", 6), 1, 2, 3], 1))
    # 16 tokens were known, 15 of them computed: three full blocks of four.
    assert scenario.transcript(1) == ["b7 > b!"]
    assert scenario.cached["b"] == 12


def test_a_prompt_that_is_cached_entirely_still_computes_its_last_block() -> None:
    """At least one token has to go through the model, and hits come in whole blocks."""
    scenario = Scenario(config())
    for name in "ab":
        scenario.submit(sequence(name, list(range(8)), 1))
        scenario.step()
    assert scenario.cached == {"a": 0, "b": 4}


def test_requests_of_one_step_share_a_prefix_as_in_vllm() -> None:
    """The second of two equal prompts pays only for its last block."""
    scenario = Scenario(config())
    scenario.submit(*(sequence(name, list(range(8)), 1) for name in "ab"))
    assert scenario.transcript(1) == ["a8 b4 > a! b!"]
    assert scenario.engine.statistics().prefix_hits_tokens == 4


def test_sequences_without_hashes_run_uncached() -> None:
    """For replays that know lengths only."""
    scenario = Scenario(config())
    for name in "ab":
        scenario.submit(Sequence(name, 8, 2))
        scenario.run_dry()
    assert scenario.cached == {"a": 0, "b": 0}


def test_without_prefix_caching_nothing_is_found_and_nothing_is_told() -> None:
    """As with vLLM's --no-enable-prefix-caching."""
    scenario = Scenario(config(enable_prefix_caching=False))
    for name in "ab":
        scenario.submit(sequence(name, list(range(8)), 1))
        scenario.run_dry()
    assert scenario.cached == {"a": 0, "b": 0}
    assert not scenario.events


def test_an_abort_frees_slot_and_memory_at_once_even_amid_a_step() -> None:
    """The next in line is in the very next step."""
    scenario = Scenario(config(max_num_seqs=1))
    scenario.submit(sequence("a", [1] * 8, 50), sequence("b", [2] * 8, 1))
    step = scenario.begin()
    assert scenario.engine.abort("a")
    assert scenario.engine.statistics().kv_usage == 0
    assert scenario.finish(step) == []
    assert scenario.transcript(1) == ["b8 > b!"]


def test_aborting_what_is_not_here_changes_nothing() -> None:
    """Neither unknown nor ended ones."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1], 1))
    scenario.run_dry()
    assert not scenario.engine.abort("a")
    assert not scenario.engine.abort("z")
    assert scenario.engine.statistics().aborted == 0


def test_time_spent_waiting_is_told_with_the_answer() -> None:
    """From submit to the first step that takes the sequence in."""
    scenario = Scenario(config(max_num_seqs=1))
    scenario.submit(sequence("a", [1], 1), sequence("b", [2], 1))
    first, second = scenario.step()[0], scenario.step()[0]
    assert first.queued_seconds == 0
    assert second.queued_seconds == pytest.approx(STEP_TIME.seconds([(1, 0)], 0, 0, 1))


def test_who_does_not_stream_is_heard_of_twice() -> None:
    """With the first token and with the last, the rest in one number."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1], 5, stream=False), sequence("b", [2], 1, stream=False))
    emissions = [each for _ in range(5) for each in scenario.step()]
    assert [(each.sequence.id, each.new_tokens, each.total_tokens) for each in emissions] == [
        ("a", 1, 1),
        ("b", 1, 1),
        ("a", 4, 5),
    ]


def test_lower_priorities_run_sooner() -> None:
    """Those of one priority in the order in which they came; nobody is preempted for a slot."""
    scenario = Scenario(config(max_num_seqs=1, scheduling_policy="priority"))
    for name, priority in (("a", 1), ("b", 1), ("c", 0)):
        scenario.submit(sequence(name, [ord(name)], 1, priority=priority))
    assert scenario.transcript(3) == ["c1 > c!", "a1 > a!", "b1 > b!"]


def test_priorities_mean_nothing_to_first_come_first_served() -> None:
    """As in vLLM, whose default that is."""
    scenario = Scenario(config(max_num_seqs=1))
    scenario.submit(sequence("a", [1], 1, priority=5), sequence("b", [2], 1, priority=0))
    assert scenario.transcript(2) == ["a1 > a!", "b1 > b!"]


def test_with_priorities_the_least_important_gives_way_wherever_it_runs() -> None:
    """`a` came first and is preempted for `b`, which matters more."""
    scenario = Scenario(config(num_gpu_blocks=4, scheduling_policy="priority"))
    scenario.submit(sequence("a", [1] * 6, 6, priority=1))
    scenario.step()
    scenario.submit(sequence("b", [2] * 7, 4, priority=0))
    assert scenario.transcript(3) == ["a1 b7 > a b", "a1 b1 > a b", "b1 > b"]
    scenario.run_dry()
    assert scenario.ends["b"] < scenario.ends["a"]
    assert scenario.tokens["a"] == [1, 2, 3, 4, 5, 6]


def test_nobody_behind_the_one_that_gave_way_is_in_that_step() -> None:
    """As in vLLM, whose walk over the running ends there; in the next step they go on."""
    scenario = Scenario(config(num_gpu_blocks=8, scheduling_policy="priority"))
    scenario.submit(sequence("c", [3], 20, priority=0), sequence("a", [1] * 8, 9, priority=1))
    assert scenario.transcript(1) == ["c1 a8 > c a"]
    scenario.submit(sequence("b", [2] * 6, 9, priority=0))
    assert scenario.transcript(4) == ["c1 a1 b6 > c a b"] + 3 * ["c1 a1 b1 > c a b"]
    # Now `a` needs a fourth block for its 13th token, there is none, and it is the least important itself.
    assert scenario.transcript(2) == ["c1 > c", "c1 b1 > c b"]


def test_sleep_loses_everything_but_the_requests() -> None:
    """What ran is computed again after waking, in the order it ran; what came meanwhile follows."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 4, 3), sequence("b", [2] * 5, 2))
    scenario.step()
    step = scenario.begin()
    scenario.engine.sleep()
    scenario.engine.sleep()
    assert scenario.finish(step) == []
    assert [event for event in scenario.events if isinstance(event, Cleared)] == [Cleared()]
    scenario.submit(sequence("c", [3], 1))
    now = scenario.engine.statistics()
    assert (now.asleep, now.running, now.waiting, now.kv_usage) == (True, 0, 3, 0.0)
    assert scenario.transcript(1) == ["idle"]
    scenario.engine.wake()
    assert scenario.transcript(2) == ["a5 b6 c1 > a b! c!", "a1 > a!"]


def test_the_prefix_cache_is_reset_only_while_no_block_is_in_use() -> None:
    """As vLLM's `/reset_prefix_cache`."""
    scenario = Scenario(config())
    scenario.submit(sequence("a", [1] * 8, 2))
    scenario.step()
    assert not scenario.engine.reset_prefix_cache()
    assert Cleared() not in scenario.events
    scenario.run_dry()
    assert scenario.engine.reset_prefix_cache()
    assert scenario.events[-1] == Cleared()
    assert scenario.engine.blocks.cached == 0


@pytest.mark.parametrize(
    ("each", "problem"),
    [
        (Sequence("x", 250, 7), "maximum context length is 256 tokens.*250 input tokens.*7 output"),
        (Sequence("x", 0, 1), "at least one prompt token"),
        (Sequence("x", 1, 0), "one output token"),
        (Sequence("x", 1, 1, adapter="tuned"), "'tuned' cannot run here: max_loras is 0"),
        (Sequence("taken", 1, 1), "'taken' is under way already"),
    ],
)
def test_what_can_never_run_is_refused_at_submit(each: Sequence, problem: str) -> None:
    """64 blocks of 4 tokens: the whole memory is the limit when the model's length is more."""
    engine = Engine(config(max_loras=0))
    engine.submit(Sequence("taken", 1, 1), 0.0)
    with pytest.raises(ValueError, match=problem):
        engine.submit(each, 0.0)
    assert engine.statistics().waiting == 1


def test_steps_do_not_overlap() -> None:
    """Begin and finish alternate."""
    engine = Engine(config())
    engine.submit(Sequence("a", 1, 2), 0.0)
    step = engine.begin_step(0.0)
    assert step is not None
    with pytest.raises(RuntimeError, match="not finished"):
        engine.begin_step(0.0)
    engine.finish_step(step)
    with pytest.raises(RuntimeError, match="not the one under way"):
        engine.finish_step(step)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
        ({"cpu_blocks": -1}, "cpu_blocks must be at least 0, got -1"),
        ({"max_num_seqs": 17}, r"\(16\) must be at least"),
        ({"scheduling_policy": "lifo"}, "scheduling_policy is fcfs or priority, not 'lifo'"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes: dict[str, Any], problem: str) -> None:
    """As vLLM refuses them when it starts."""
    with pytest.raises(ValueError, match=problem):
        config(**sizes)
