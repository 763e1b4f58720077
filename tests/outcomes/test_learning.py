"""Outcomes -> what the work model learns, and promises that end."""

from __future__ import annotations

import numpy as np
import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.outcomes.learning import Learning
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Head, Request
from igw.work.promises import Promises

A, B = Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000)


class Pool:
    """Two pools, a decision in the second, and the listener of both."""

    def __init__(self, *, stream: bool = True) -> None:
        self.now = 10.0
        self.other, self.promises = Promises(), Promises()
        self.promises.adopt({0: A.hostport})
        self.learning = Learning(lambda: (self.other, self.promises), lambda: self.now)
        request = Request(Head("/", "POST", {}), model="m", stream=stream, prompt_bytes=40_000)
        self.decision = Decision(7, request, (A, B))
        self.promises.send(7, 0, 10_000, 10_000, self.now, stream=stream)

    def queued(self) -> tuple[float, float]:
        """Return how many requests have no first token, and how many have."""
        found = self.promises.promised(np.array([0]), self.now)
        return float(found.column("queued")[0]), float(found.column("running")[0])


def answered(**changes: object) -> Outcome:
    """Return an answer of 100 tokens in five seconds, the first after one."""
    usual = {
        "end": End.COMPLETE, "status": 200, "ttft_seconds": 1.0, "duration_seconds": 5.0,
        "usage": Usage(8000, 100, 0),
    }  # fmt: skip
    return Outcome(**(usual | changes))  # type: ignore[arg-type]


def test_an_answer_ends_its_promise_and_teaches() -> None:
    """Its length by model, its first token, its pace."""
    pool = Pool()
    before = pool.promises.model.rates
    pool.learning(pool.decision, answered())
    assert pool.queued() == (0, 0)
    assert pool.promises.model.observations == 1
    assert pool.promises.model.output_tokens("m") == pytest.approx(199)
    assert pool.promises.model.rates != before
    assert pool.other.model.observations == 0


@pytest.mark.parametrize(
    "outcome",
    [
        answered(end=End.ABORTED),
        answered(end=End.FAILED),
        answered(status=500),
        answered(served_by=B.hostport),
        answered(duration_seconds=None),
        Outcome(End.UNKNOWN),
    ],
)
def test_what_the_picked_endpoint_did_not_do_teaches_nothing(outcome: Outcome) -> None:
    """But its promise is over."""
    pool = Pool()
    pool.learning(pool.decision, outcome)
    assert pool.queued() == (0, 0)
    assert pool.promises.model.observations == 0


def test_the_first_byte_of_an_answer_in_one_piece_is_no_first_token() -> None:
    """It comes with the last."""
    pool = Pool(stream=False)
    pool.learning.started(pool.decision)
    assert pool.queued() == (1, 0)
    pool.learning(pool.decision, answered(ttft_seconds=4.99))
    assert pool.promises.model.rates.per_token < 3e-4


def test_first_tokens_of_streams_are_passed_on() -> None:
    """At once."""
    pool = Pool()
    pool.learning.started(pool.decision)
    assert pool.queued() == (0, 1)


def test_without_usage_the_first_token_still_teaches() -> None:
    """What was believed uncached counts; the length is not known."""
    pool = Pool()
    pool.learning(pool.decision, answered(usage=Usage()))
    assert pool.promises.model.observations == 1
    assert pool.promises.model.output_tokens("m") == 200
