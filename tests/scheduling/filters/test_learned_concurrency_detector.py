"""`learned-concurrency-detector`."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.flow.concurrency import ConcurrencyLimit
from igw.outcomes.outcome import End, Outcome
from igw.request import Head, Request
from igw.scheduling.filters.learned_concurrency_detector import LearnedConcurrencyDetector
from tests.scheduling.candidates import endpoints, facts, request

POOL = endpoints({}, {})


def told(detector: LearnedConcurrencyDetector, endpoint: Endpoint, number: int, **outcome: Any) -> None:
    """Let a request end that has been decided."""
    decision = Decision(number, Request(Head("/", "POST", {})), (endpoint,))
    detector.ended(decision, Outcome(**{"end": End.COMPLETE, "status": 200, "ttft_seconds": 0.1, **outcome}))


def drive(detector: LearnedConcurrencyDetector, endpoint: Endpoint, rounds: int, **outcome: Any) -> None:
    """Keep 40 in flight for some rounds."""
    for round_ in range(rounds):
        for number in range(40):
            detector.decided(Decision(round_ * 40 + number, Request(Head("/", "POST", {})), (endpoint,)))
        for number in range(40):
            told(detector, endpoint, round_ * 40 + number, **outcome)


def of(inflight: list[float]) -> Facts:
    """Return facts of the pool."""
    return msgspec.structs.replace(facts(2), endpoints=POOL, inflight=np.array(inflight))


def test_what_an_endpoint_bears_is_learnt_for_itself() -> None:
    """The other one's limit stays where it begins."""
    detector = LearnedConcurrencyDetector()
    drive(detector, POOL[0], 10)
    limits = detector.limits(of([0.0, 0.0]))
    assert limits[0] > 40
    assert limits[1] == ConcurrencyLimit.START
    assert detector.keep(request(), of([40.0, 40.0])).tolist() == [True, False]
    assert detector.saturation(of([float(limits[0]), 0.0])) == 0.5


def test_all_are_kept_when_none_has_room() -> None:
    """Whether to wait is not for a filter to say."""
    assert LearnedConcurrencyDetector().keep(request(), of([99.0, 99.0])).tolist() == [True, True]


def test_only_first_tokens_of_its_own_answers_count() -> None:
    """Not errors, not answers of another endpoint, not requests of before its time."""
    for outcome in ({"ttft_seconds": None}, {"status": 503}, {"served_by": POOL[1].hostport}):
        detector = LearnedConcurrencyDetector()
        drive(detector, POOL[0], 10, **outcome)
        assert detector.limits(of([0.0, 0.0]))[0] == ConcurrencyLimit.START
    detector = LearnedConcurrencyDetector()
    for number in range(100):
        told(detector, POOL[0], number)
    assert detector.limits(of([0.0, 0.0]))[0] == ConcurrencyLimit.START


def test_an_endpoint_that_left_begins_anew() -> None:
    """And what still ends there does no harm."""
    detector = LearnedConcurrencyDetector()
    drive(detector, POOL[0], 10)
    detector.left(POOL[0].hostport)
    told(detector, POOL[0], 1)
    assert detector.limits(of([0.0, 0.0])).tolist() == [ConcurrencyLimit.START] * 2


def test_no_endpoints_are_full() -> None:
    """As with the other detectors."""
    assert LearnedConcurrencyDetector().saturation(facts(0)) == 1.0
