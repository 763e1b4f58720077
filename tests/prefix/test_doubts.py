"""Doubts of the exact index: what makes it silently useless is reported once, with what to do."""

from __future__ import annotations

import pytest

from igw.prefix.doubts import CURES, Doubt, Doubts


class Case:
    """Doubts about one endpoint that told of so many blocks, and of so many whose parent is not known."""

    def __init__(self, stored: int = 0, orphans: int = 0) -> None:
        self.told = (stored, orphans)
        self.reports: list[Doubt] = []
        self.doubts = Doubts(lambda _: self.told, self.reports.append)

    def serve(self, times: int, held: float = 0.0, cached: int | None = None, tokens: int = 1000) -> None:
        for _ in range(times):
            self.doubts.served("a", tokens, held, cached)


def test_an_engine_that_publishes_nothing_is_doubted_once() -> None:
    """After enough requests; when it does publish, the doubt goes."""
    case = Case()
    case.serve(19)
    assert case.reports == []
    case.serve(30)
    assert case.reports == [Doubt("no-events", "a")]
    case.told = (5, 0)
    case.serve(1)
    assert case.doubts.standing == ()


def test_blocks_without_parents_are_doubted() -> None:
    """A picker that started after the engine, without a replay socket."""
    case = Case(stored=10, orphans=200)
    case.serve(1)
    assert case.reports == [Doubt("no-parents", "a")]


def test_tokens_that_never_match_are_doubted() -> None:
    """Where the engine reports cached tokens, and blocks were stored."""
    case = Case(stored=100)
    case.serve(20, held=0.0, cached=512)
    assert case.reports == [Doubt("never-match", "a")]


@pytest.mark.parametrize(("held", "cached"), [(64.0, 512), (0.0, 0), (0.0, None), (64.0, None)])
def test_what_matches_or_is_not_cached_is_not_doubted(held: float, cached: int | None) -> None:
    """Nor is an engine that does not report cached tokens."""
    case = Case(stored=100)
    case.serve(50, held, cached)
    assert case.reports == []


def test_short_prompts_say_nothing() -> None:
    """They fill no block."""
    case = Case()
    case.serve(50, tokens=20)
    assert case.reports == []


def test_texts_without_tokens_are_doubted() -> None:
    """Until one comes with them."""
    case = Case()
    for _ in range(25):
        case.doubts.asked(tokens=False)
    assert case.reports == [Doubt("no-tokens", "")]
    case.doubts.asked(tokens=True)
    assert case.doubts.standing == ()


def test_an_endpoint_that_left_is_doubted_no_more() -> None:
    """And begins anew if it comes back."""
    case = Case()
    case.serve(20)
    case.doubts.left("a")
    assert case.doubts.standing == ()
    case.serve(19)
    assert len(case.reports) == 1


def test_every_doubt_has_a_cure() -> None:
    """A sentence of what to do."""
    assert all(len(Doubt(kind, "").cure) > 40 for kind in CURES)
