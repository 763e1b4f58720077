"""A profile of what runs: what is seen, and in which forms it is told."""

from __future__ import annotations

import re
import threading

import pytest

from igw.debugging import profile
from igw.debugging.profile import Profile, Sampler, collapsed, speedscope


def _waits_here(stop: threading.Event, begun: threading.Event) -> None:
    begun.set()
    stop.wait()


def test_a_thread_that_works_is_seen_where_it_is() -> None:
    """By name, with its frames from the outermost on."""
    stop, begun = threading.Event(), threading.Event()
    thread = threading.Thread(target=_waits_here, args=(stop, begun), name="worker")
    thread.start()
    begun.wait()
    try:
        found = Sampler(0.005).run(0.2)
    finally:
        stop.set()
        thread.join()
    (stack,) = {each for each in found.stacks if each[0] == "worker"}
    assert f"{__name__}:_waits_here" in stack
    assert stack.index(f"{__name__}:_waits_here") < stack.index("threading:Event.wait")
    assert 2 <= found.stacks[stack] <= 41
    assert not [each for each in found.stacks if "igw.debugging.profile:Sampler.run" in each]


def test_there_is_a_bound_on_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond is counted."""
    monkeypatch.setattr(profile, "_MOST_STACKS", 2)
    sampler = Sampler(1.0)
    for name in ("a", "b", "a", "c", "d"):
        sampler.note((name,))
    assert sampler._stacks == {("a",): 2, ("b",): 1}
    assert sampler._left_out == 2


SEEN = Profile({("main", "a:f", "b:g"): 3, ("main", "a:f"): 1, ("other", "c;h"): 2}, 0.01)


def test_collapsed_is_a_line_for_each_stack() -> None:
    """As flame graph tools read it, the most often seen first."""
    assert collapsed(SEEN) == "main;a:f;b:g 3\nother;c:h 2\nmain;a:f 1\n"
    assert all(re.fullmatch(r"\S+ \d+", line) for line in collapsed(SEEN).splitlines())


def test_speedscope_has_a_profile_for_each_thread() -> None:
    """In seconds."""
    written = speedscope(SEEN, "n")
    assert [each["name"] for each in written["shared"]["frames"]] == ["a:f", "b:g", "c;h"]
    main, other = written["profiles"]
    assert main["samples"] == [[0, 1], [0]]
    assert main["weights"] == [0.03, 0.01]
    assert main["endValue"] == pytest.approx(0.04)
    assert (other["name"], other["samples"]) == ("other", [[2]])
