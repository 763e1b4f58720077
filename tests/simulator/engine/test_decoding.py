"""Sequences that decode without being touched: what each needs, and when it ends, follows from when it joined."""

from __future__ import annotations

from igw.simulator.engine.decoding import Decoding
from igw.simulator.engine.sequence import Progress, Sequence


def member(name: str, prompt: int, output: int, ticket: int, *, stream: bool = False) -> Progress:
    """Return one whose prompt is computed and whose first token is there."""
    progress = Progress(Sequence(name, prompt, output, stream=stream), (), 0.0, (0, ticket))
    progress.ticket, progress.computed, progress.generated = ticket, prompt, 1
    return progress


def names(members: object) -> str:
    """Return the ids one after the other."""
    return "".join(each.sequence.id for each in members)  # type: ignore[attr-defined]


def test_each_begins_and_fills_blocks_when_its_own_tokens_say_so() -> None:
    """Blocks of four: `a` has computed 4, `b` 6, `c` joins a step later with 3."""
    decoding = Decoding(4)
    decoding.join(member("a", 4, 99, 1))
    decoding.join(member("b", 6, 99, 2))
    seen = []
    for step in range(5):
        if step == 1:
            decoding.join(member("c", 3, 99, 3))
        seen.append((names(decoding.growing()), names(decoding.filling())))
        decoding.advance()
    assert seen == [("a", ""), ("", "bc"), ("bc", ""), ("", "a"), ("a", "")]


def test_who_streams_is_told_of_every_token_the_others_of_their_last() -> None:
    """In the order of the tickets."""
    decoding = Decoding(4)
    decoding.join(member("a", 4, 3, 1))
    decoding.join(member("b", 4, 4, 2, stream=True))
    told = [[(names([each]), total) for each, total in decoding.advance()] for _ in range(4)]
    assert told == [[("b", 2)], [("a", 3), ("b", 3)], [("b", 4)], []]
    assert len(decoding) == 0
    assert decoding.kv_tokens == 0


def test_the_known_tokens_are_summed_as_everybody_moves_on() -> None:
    """Each knows one token more after every step, and takes its own out when it leaves."""
    decoding = Decoding(4)
    first, second = member("a", 10, 99, 1), member("b", 20, 99, 2)
    decoding.join(first)
    decoding.join(second)
    decoding.advance()
    assert decoding.kv_tokens == 12 + 22
    decoding.leave(first)
    assert (first.generated, first.computed) == (2, 11)
    assert decoding.kv_tokens == 22
    assert decoding.last() is second


def test_who_sits_a_step_out_loses_that_step_and_nothing_else() -> None:
    """Those behind ticket 1; they end one step later, and keep their place."""
    decoding = Decoding(4)
    for name, ticket in (("a", 1), ("b", 2), ("c", 3)):
        decoding.join(member(name, 4, 3, ticket, stream=True))
    decoding.pause_after(1)
    assert (names(decoding.members), names(decoding), decoding.kv_tokens) == ("a", "abc", 5)
    told = [[(names([each]), total) for each, total in decoding.advance()] for _ in range(3)]
    assert told == [[("a", 2)], [("a", 3), ("b", 2), ("c", 2)], [("b", 3), ("c", 3)]]


def test_who_sits_out_can_leave() -> None:
    """Aborted meanwhile."""
    decoding = Decoding(4)
    first, second = member("a", 4, 9, 1), member("b", 4, 9, 2)
    decoding.join(first)
    decoding.join(second)
    decoding.pause_after(1)
    decoding.leave(second)
    decoding.advance()
    assert names(decoding) == "a"
    assert second.generated == 1
