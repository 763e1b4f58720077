"""When somebody who fails may be asked again."""

from __future__ import annotations

import asyncio

import pytest

from igw.patience import ENOUGH_FAILURES, MOST_OPEN, PAUSE_SECONDS, Patience


class Server:
    """One that is asked at a time of the test's choice."""

    def __init__(self) -> None:
        self.now = 100.0
        self.complaints: list[str] = []
        self.patience = Patience(lambda: self.now, self.complaints.append)

    def fails(self, times: int, error: BaseException) -> None:
        for _ in range(times):
            with pytest.raises(type(error)), self.patience.asking():
                raise error


def test_failures_in_a_row_make_a_pause_and_one_complaint():
    server = Server()
    server.fails(ENOUGH_FAILURES - 1, ValueError("no"))
    assert server.patience.may_ask
    server.fails(1, ValueError("no"))
    assert not server.patience.may_ask
    server.now += PAUSE_SECONDS
    assert server.patience.may_ask
    server.fails(ENOUGH_FAILURES, ValueError("still no"))
    assert not server.patience.may_ask
    assert server.complaints == ["no"]


def test_an_answer_between_failures_starts_the_count_anew_and_the_next_pause_is_told():
    server = Server()
    for _ in range(2):
        server.fails(ENOUGH_FAILURES, asyncio.CancelledError())
        server.now += PAUSE_SECONDS
        with server.patience.asking():
            pass
        server.fails(ENOUGH_FAILURES - 1, ValueError("no"))
        assert server.patience.may_ask
        with server.patience.asking():
            pass
    assert server.complaints == ["it is late", "it is late"]


def test_only_so_many_questions_are_open_at_once():
    server = Server()
    open_ones = [server.patience.asking() for _ in range(MOST_OPEN)]
    for each in open_ones:
        each.__enter__()
    assert not server.patience.may_ask
    open_ones[0].__exit__(None, None, None)
    assert server.patience.may_ask
    for each in open_ones[1:]:
        each.__exit__(None, None, None)
