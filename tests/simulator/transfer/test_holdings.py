"""What a prefill server keeps for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.transfer.holdings import Holdings, NotHeldError


def _holdings() -> Holdings:
    holdings = Holdings("engine", blocks=10, timeout_seconds=5.0)
    holdings.hold("request", ("sequence", (1, 2, 3), 40, "digest"), now=100.0)
    return holdings


def test_what_is_held_is_told_to_whoever_has_all_the_ids() -> None:
    """Block ids nested or not; reading does not end the holding."""
    holdings = _holdings()
    held = holdings.read("engine", "request", [[1, 2, 3]])
    assert (held.tokens, held.digest) == (40, "digest")
    assert holdings.read("engine", "request", [1, 2, 3]) is held


@pytest.mark.parametrize(
    ("engine", "request_id", "blocks", "sentence"),
    [
        ("other", "request", [1, 2, 3], "this is engine 'engine', not 'other'"),
        ("engine", "unknown", [1, 2, 3], "nothing is held for request 'unknown'"),
        ("engine", "request", [1, 2], "has 3 blocks starting at 1, not the 2 asked for"),
        ("engine", "request", [3, 2, 1], "has 3 blocks starting at 1, not the 3 asked for"),
    ],
)
def test_a_wrong_id_is_refused_with_the_reason(
    engine: str, request_id: str, blocks: list[int | list[int]], sentence: str
) -> None:
    """As a real connector would read somebody else's memory."""
    with pytest.raises(NotHeldError, match=sentence):
        _holdings().read(engine, request_id, blocks)


def test_what_was_released_is_not_held_any_more() -> None:
    """Once; the second time nobody is there."""
    holdings = _holdings()
    assert holdings.release("request") == "sequence"
    assert holdings.release("request") is None
    with pytest.raises(NotHeldError):
        holdings.read("engine", "request", [1, 2, 3])


def test_what_nobody_fetches_expires_in_the_order_it_came() -> None:
    """At the moment that was announced, not before."""
    holdings = _holdings()
    holdings.hold("later", ("sequence-2", (4,), 1, ""), now=102.0)
    assert holdings.next_expiry == 105.0
    assert holdings.expire(104.9) == []
    assert holdings.expire(105.0) == ["sequence"]
    assert holdings.next_expiry == 107.0
    assert holdings.expire(200.0) == ["sequence-2"]
    assert holdings.next_expiry is None


def test_a_restart_forgets_everything() -> None:
    """The memory is gone with it."""
    holdings = _holdings()
    holdings.clear()
    assert len(holdings) == 0


@given(st.lists(st.integers(1, 10), max_size=20))
def test_the_blocks_of_one_prompt_are_all_different_and_exist(counts: list[int]) -> None:
    """Numbers are handed out in turn and begin again at the end."""
    holdings = Holdings("engine", blocks=10, timeout_seconds=5.0)
    for count in counts:
        ids = holdings.number(count)
        assert len(set(ids)) == count
        assert set(ids) <= set(range(10))
