"""What outcomes teach: which endpoints refuse, and what their caches really hold."""

from __future__ import annotations

import msgspec
import pytest

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.outcomes.correction import Correction
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.prefix.hashing import BLOCK_BYTES, tokens_at
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request

A, B = Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000)
BLOCKS = range(100, 110)
PROMPT_BYTES = sum(BLOCK_BYTES[:10])


class Learning:
    """An index and columns of one pool of two, and a request that was sent to A and recorded there."""

    def __init__(self, matched: int = 0) -> None:
        self.prefix = PrefixIndex()
        self.columns = Columns(Pool("p", "default", (A, B)), self.prefix.slot)
        self.correction = Correction(self.prefix, lambda key: self.columns if key == "default/p" else None)
        self.decision = Decision(
            1,
            Request(Head("/", "POST", {}, pool="default/p"), prompt_bytes=PROMPT_BYTES),
            (A, B),
            blocks=BLOCKS,
            matched_tokens=tokens_at(matched),
        )
        self.prefix.record(self.prefix.slot(A.hostport), BLOCKS)

    def learn(self, outcome: Outcome) -> tuple[int, int]:
        """Take the lesson; return how much of the prompt A and B are then believed to hold."""
        self.correction(self.decision, outcome)
        matched = self.prefix.match(BLOCKS)
        return int(matched[self.columns.slots[0]]), int(matched[self.columns.slots[1]])


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(End.COMPLETE, 200),
        Outcome(End.COMPLETE, 200, served_by=A.hostport),
        Outcome(End.ABORTED, 200),
        Outcome(End.UNKNOWN),
    ],
)
def test_what_was_computed_or_may_have_been_stays_believed(outcome: Outcome) -> None:
    """The endpoint answered, or the client did not wait, or nobody told."""
    learning = Learning(matched=2)
    assert learning.learn(outcome) == (10, 0)
    assert not learning.columns.any_failing


@pytest.mark.parametrize(
    "outcome", [Outcome(End.FAILED), Outcome(End.COMPLETE, 400), Outcome(End.COMPLETE, 500)]
)
def test_a_prompt_that_was_never_computed_is_forgotten(outcome: Outcome) -> None:
    """What was matched before is still there; the endpoint answers, so it is not failing."""
    learning = Learning(matched=2)
    assert learning.learn(outcome) == (2, 0)
    assert not learning.columns.any_failing


def test_an_endpoint_that_refuses_is_no_candidate() -> None:
    """Until it reports again."""
    learning = Learning()
    assert learning.learn(Outcome(End.FAILED, 503, unreachable=True)) == (0, 0)
    assert learning.columns.failing.tolist() == [True, False]


def test_a_retry_moves_the_prompt_to_who_served_it() -> None:
    """The proxy went on to the next: the first refused, the other has the prompt now."""
    learning = Learning(matched=3)
    assert learning.learn(Outcome(End.COMPLETE, 200, served_by=B.hostport)) == (3, 10)
    assert learning.columns.failing.tolist() == [True, False]


def test_a_server_that_we_do_not_know_teaches_about_the_pick_only() -> None:
    """It gets no slot and no row."""
    learning = Learning()
    assert learning.learn(Outcome(End.COMPLETE, 200, served_by="10.9.9.9:1")) == (0, 0)
    assert learning.columns.failing.tolist() == [True, False]
    assert learning.prefix.slot_of("10.9.9.9:1") is None


def test_an_endpoint_that_left_teaches_nothing() -> None:
    """Its slot may already be another's."""
    learning = Learning()
    learning.prefix.remove(A.hostport)
    slot = learning.prefix.slot("10.0.0.3:8000")
    learning.prefix.record(slot, BLOCKS)
    learning.correction(learning.decision, Outcome(End.FAILED))
    assert learning.prefix.match(BLOCKS)[slot] == 10


def test_an_outcome_of_a_pool_that_is_gone_still_corrects_the_index() -> None:
    """There are no columns to write to."""
    learning = Learning()
    correction = Correction(learning.prefix, lambda _: None)
    correction(learning.decision, Outcome(End.FAILED, unreachable=True))
    assert learning.prefix.match(BLOCKS).tolist() == [0, 0]
    assert not learning.columns.any_failing


class Corrections(PrefixIndex):
    """An index that notes how it is corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, int]] = []

    def correct(self, slot: int, believed_tokens: int, actual_tokens: int) -> None:
        """Note it."""
        super().correct(slot, believed_tokens, actual_tokens)
        self.noted.append((believed_tokens, actual_tokens))


@pytest.mark.parametrize(
    ("matched", "usage", "noted"),
    [
        # 2,560 bytes in 640 tokens: four bytes each, as we count; 64 tokens to a block
        pytest.param(8, Usage(640, 1, 512), [(512, 512)], id="true"),
        pytest.param(8, Usage(640, 1, 0), [(512, 0)], id="forgotten"),
        pytest.param(8, Usage(640, 1, 130), [(512, 130)], id="half forgotten"),
        # 1,280 tokens: two bytes each, so that 256 of them are 128 of ours
        pytest.param(8, Usage(1280, 1, 256), [(512, 128)], id="dense text"),
        pytest.param(8, Usage(640, 1, None), [], id="not told"),
        pytest.param(8, Usage(None, 1, 64), [(512, 512)], id="no measure of the prompt"),
        pytest.param(4, Usage(640, 1, 256), [(256, 256)], id="just fine enough"),
        pytest.param(3, Usage(640, 1, 0), [], id="too coarse"),
        pytest.param(0, Usage(640, 1, 640), [], id="nothing believed"),
    ],
)
def test_cached_tokens_are_compared_with_what_was_believed(
    matched: int, usage: Usage, noted: list[tuple[int, int]]
) -> None:
    """In tokens of four bytes, by the bytes per token of this very prompt."""
    learning = Learning(matched)
    index = Corrections()
    index.slot(A.hostport)
    Correction(index, lambda _: None)(learning.decision, Outcome(End.COMPLETE, 200, usage=usage))
    assert index.noted == noted


@pytest.mark.parametrize(
    "outcome",
    [Outcome(End.FAILED, 503, served_by=B.hostport), Outcome(End.COMPLETE, 500, served_by=B.hostport)],
)
def test_a_retry_that_failed_as_well_computed_nothing_either(outcome: Outcome) -> None:
    """Neither of the two is believed to hold the prompt."""
    assert Learning(matched=2).learn(outcome) == (2, 0)


@pytest.mark.parametrize(("by", "noted"), [("approximate", 1), ("exact", 0), ("speculative", 0)])
def test_what_others_knew_teaches_nothing_of_this_index(by: str, noted: int) -> None:
    """It was the engine's word that was wrong, or too early, not our guess."""
    learning = Learning(matched=8)
    learning.prefix = prefix = Corrections()
    prefix.record(prefix.slot(A.hostport), BLOCKS)
    known = msgspec.structs.replace(learning.decision, matched_by=by)
    Correction(prefix, lambda _: learning.columns)(known, Outcome(End.COMPLETE, 200, usage=Usage(640, 1, 0)))
    assert len(prefix.noted) == noted
