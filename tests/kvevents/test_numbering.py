"""What numbers of messages mean."""

from __future__ import annotations

from igw.kvevents.numbering import Numbering, Step


def taken(*numbers: int) -> Numbering:
    """Return the numbering after these, taken at that second."""
    numbering = Numbering()
    for number in numbers:
        numbering.taken(number, float(number))
    return numbering


def test_everything_since_0_is_the_whole() -> None:
    """Until one is missing."""
    numbering = taken(0, 1, 2)
    assert numbering.step(3, 3.0) is Step.TAKE
    assert numbering.whole
    assert numbering.step(5, 5.0) is Step.MISSING
    numbering.taken(5, 5.0)
    assert not numbering.whole


def test_who_joins_late_misses_something() -> None:
    """And asks for all of it."""
    numbering = Numbering()
    assert numbering.step(7, 1.0) is Step.MISSING
    assert numbering.replay_from == 0
    numbering.taken(7, 1.0)
    assert not numbering.whole


def test_a_number_that_goes_back_is_a_restart() -> None:
    """After which 0 is the next one."""
    numbering = taken(0, 1, 2)
    assert numbering.step(0, 9.0) is Step.RESTARTED
    assert numbering.step(2, 2.0) is Step.RESTARTED, "nothing was replayed, so nothing comes twice"
    numbering.restarted()
    assert numbering.step(0, 9.0) is Step.TAKE


def test_what_a_replay_brought_comes_again_and_is_skipped() -> None:
    """But what is later than all of it is of a new run, whatever its number."""
    numbering = taken(0, 1, 2)
    numbering.replayed()
    assert numbering.step(1, 1.0) is Step.SKIP
    assert numbering.step(2, 2.0) is Step.SKIP
    assert numbering.step(1, 50.0) is Step.RESTARTED


def test_a_replay_begins_with_the_last_message_taken() -> None:
    """If that is another one now, the engine restarted unseen."""
    numbering = taken(0, 1, 2)
    assert numbering.replay_from == 2
    assert not numbering.another_run(2, 2.0)
    assert numbering.another_run(2, 7.0)
    assert not numbering.another_run(3, 7.0)
