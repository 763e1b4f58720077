"""Queues by adapter, and the slots of LoRA adapters."""

from __future__ import annotations

import pytest

from igw.simulator.engine.sequence import Progress, Sequence
from igw.simulator.engine.waiting import AdapterSlots, Waiting
from tests.simulator.engine.scenario import STEP_TIME, Scenario, config, sequence


def waiting(number: int, adapter: str | None, priority: int = 0) -> Progress:
    """Return one that waits with the key (priority, number)."""
    return Progress(Sequence(str(number), 1, 1, adapter=adapter), (), 0.0, (priority, number))


def test_the_lowest_key_whose_adapter_is_admitted_is_first() -> None:
    """One slot: while `x` uses it, those that want `y` are passed over, and come first again when it is free."""
    queue, slots = Waiting(), AdapterSlots(1)
    first, second, third = waiting(1, "y"), waiting(2, "x"), waiting(3, None)
    for each in (third, second, first):
        queue.add(each)
    assert queue.first(slots) is first
    slots.enter("x")
    assert queue.first(slots) is second
    assert queue.deferred(slots) == 1
    queue.remove(second)
    assert queue.first(slots) is third
    slots.leave("x")
    assert queue.first(slots) is first
    assert (len(queue), queue.adapters, set(queue)) == (2, {"y"}, {first, third})


def test_any_of_a_queue_can_be_taken_out() -> None:
    """The others keep their order; an empty queue is false and has no first."""
    queue, slots = Waiting(), AdapterSlots(1)
    everybody = [waiting(number, None, priority=-number) for number in range(4)]
    for each in everybody:
        queue.add(each)
    queue.remove(everybody[3])
    queue.remove(everybody[1])
    assert queue.first(slots) is everybody[2]
    queue.remove(everybody[2])
    queue.remove(everybody[0])
    assert not queue
    assert queue.first(slots) is None


def test_an_adapter_is_loaded_once_and_goes_when_another_needs_its_slot() -> None:
    """The least recently used of those that nobody runs with."""
    slots = AdapterSlots(2)
    assert [slots.enter(name) for name in ("x", "y", "x")] == [True, True, False]
    for name in ("x", "x", "y"):
        slots.leave(name)
    assert slots.enter("y") is False
    assert slots.enter("z") is True  # `x` goes
    slots.leave("z")
    assert slots.enter("x") is True  # `z` goes, because `y` runs
    assert slots.users == {"y": 1, "x": 1}


def test_more_adapters_than_slots_take_turns_and_the_base_model_passes() -> None:
    """`y` waits until nothing runs with `x`, `c` does not; vLLM skips likewise."""
    scenario = Scenario(config(max_loras=1))
    for name, adapter in (("a", "x"), ("b", "y"), ("c", None), ("d", "x")):
        scenario.submit(sequence(name, [ord(name)], 2, adapter=adapter))
    assert scenario.transcript(1) == ["a1 c1 d1 > a c d"]
    now = scenario.engine.statistics()
    assert (now.running_adapters, now.waiting_adapters) == (("x",), ("y",))
    assert (now.waiting, now.waiting_deferred) == (1, 1)
    assert scenario.transcript(2) == ["a1 c1 d1 > a! c! d!", "b1 > b"]


def test_loading_an_adapter_makes_one_step_longer() -> None:
    """Every sequence in that step pays; the second use is free until the adapter was evicted."""
    scenario = Scenario(config(max_loras=1, lora_load_seconds=0.5))
    durations = []
    for name, adapter in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x")):
        scenario.submit(sequence(name, [ord(name)], 1, adapter=adapter))
        before = scenario.now
        scenario.step()
        durations.append(scenario.now - before)
    plain = STEP_TIME.seconds([(1, 0)], 0, 0, 1)
    assert durations == pytest.approx([plain + 0.5, plain, plain + 0.5, plain + 0.5])
