"""The messages of an answer, without a server."""

from __future__ import annotations

from array import array

from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.http.deciding import Choice
from igw.simulator.rpc.writing import GenerateWriter

PROMPT, ANSWER = [1, 2, 3], [7, 8, 9]


def choice(index: int, stop_reason: str | int | None = None) -> Choice:
    """Return a choice of three tokens."""
    sequence = Sequence(f"s{index}", len(PROMPT), len(ANSWER))
    return Choice(index, sequence, ["a", "b", "c"], stop_reason, array("I", PROMPT + ANSWER))


def emission(of: Choice, new: int, total: int) -> Emission:
    """Return what an engine tells of it."""
    return Emission(of.sequence, new, total, cached_tokens=2, queued_seconds=0.0)


def test_a_piece_has_the_new_tokens_only() -> None:
    """Also when several come at once."""
    one = choice(1)
    chunk = GenerateWriter([one], None).piece(emission(one, 2, 3)).chunk
    assert (list(chunk.token_ids), chunk.completion_tokens) == ([8, 9], 3)
    assert (chunk.prompt_tokens, chunk.cached_tokens, chunk.index) == (3, 2, 1)


def test_the_end_has_all_tokens_and_what_other_servers_are_told() -> None:
    """As JSON."""
    one = choice(0, stop_reason="x")
    complete = GenerateWriter([one], {"remote_port": 5}).end(emission(one, 1, 3)).complete
    assert (list(complete.output_ids), complete.finish_reason) == (ANSWER, "length")
    assert (complete.matched_stop_str, complete.kv_transfer_params_json) == ("x", '{"remote_port":5}')


def test_an_abort_ends_those_that_have_no_end_yet() -> None:
    """With the tokens that were heard of."""
    choices = [choice(0), choice(1), choice(2)]
    writer = GenerateWriter(choices, None)
    writer.end(emission(choices[0], 3, 3))
    writer.piece(emission(choices[1], 2, 2))
    ends = [message.complete for message in writer.aborted()]
    assert [(end.index, list(end.output_ids), end.finish_reason) for end in ends] == [
        (1, [7, 8], "abort"),
        (2, [], "abort"),
    ]
