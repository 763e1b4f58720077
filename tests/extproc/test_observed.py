"""Exchanges measured from outside, and answers that pass through: pieces of streams, and time spent on them."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import grpc
import pytest

from igw.decision import Decision
from igw.extproc.observed import Exchanges
from igw.telemetry.families import Families
from tests.extproc.test_server import (
    Harness,
    request_body,
    request_headers,
    response_body,
    response_headers,
)

STREAM = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
WHOLE = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


class Context:
    """Of a call that may have been given a code."""

    def __init__(self, code: grpc.StatusCode | None = None) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode | None:
        return self._code


@pytest.mark.parametrize(
    ("fault", "code", "written"),
    [
        (None, None, "OK"),
        (asyncio.CancelledError(), None, "Canceled"),
        (RuntimeError(), grpc.StatusCode.FAILED_PRECONDITION, "FailedPrecondition"),
        (RuntimeError(), None, "Unknown"),
    ],
)
async def test_an_exchange_is_counted_by_its_code_and_timed(
    fault: BaseException | None, code: grpc.StatusCode | None, written: str
) -> None:
    """Codes as Go writes them; while it runs it is open."""
    families, times = Families(), itertools.count()
    value = families.registry.get_sample_value
    open_meanwhile: list[float | None] = []

    async def process(_requests: Any, _context: Any) -> None:
        open_meanwhile.append(value("llm_d_epp_extproc_streams_inflight"))
        if fault is not None:
            raise fault

    measured = Exchanges(families, lambda: float(next(times))).measured(process)
    if fault is None:
        await measured(None, Context())
    else:
        with pytest.raises(type(fault)):
            await measured(None, Context(code))
    assert open_meanwhile == [1]
    assert value("llm_d_epp_extproc_streams_inflight") == 0
    assert value("llm_d_epp_extproc_streams_total", {"code": written}) == 1
    assert value("llm_d_epp_extproc_stream_duration_seconds_sum") == 1


@pytest.mark.parametrize(("body", "gaps"), [(STREAM, 2), (WHOLE, 0)])
async def test_pieces_of_a_stream_that_passes_through_are_told(body: bytes, gaps: int) -> None:
    """Three pieces have two gaps, the end without data is none; an answer in one piece has no tokens to see."""
    told: list[tuple[int, float]] = []
    spent: list[float] = []

    def piece(decision: Decision, seconds: float) -> None:
        told.append((decision.id, seconds))

    async with Harness().serving() as harness:
        harness.service.piece, harness.service.answered_after = piece, spent.append
        pieces = [response_body(b"data: {}\n\n", end=False) for _ in range(3)]
        answer = [response_headers(), *pieces, response_body(b"", end=True)]
        await harness.exchange([request_headers(), request_body(body), *answer])
    assert len(told) == gaps
    assert all(number == 1 and seconds > 0 for number, seconds in told)
    assert len(spent) == 1
    assert spent[0] > 0


async def test_an_answer_that_does_not_pass_through_takes_no_time() -> None:
    """Nothing is observed of lean exchanges."""
    spent: list[float] = []
    async with Harness().serving() as harness:
        harness.service.answered_after = spent.append
        await harness.exchange([request_headers(body_mode=2), request_body(WHOLE)], lean=True)
    assert spent == []
