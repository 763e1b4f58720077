"""Hit ratios that no placement of requests can beat."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import igw
from igw.lab.oracles import Asked, Cache, dispatched, hit_oracles, hit_ratio, in_order
from igw.lab.records import Fate, Record
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.shaping import cut
from igw.lab.traces.catalogue import workload
from igw.lab.workload import Session, Turn, Workload

TRACES = Path(igw.__file__).parents[2] / "examples/traces"

KV_TOKENS = 8 * 307_328
"""Of eight servers with Qwen3-32B on two H100 each."""


def turn(prompt_tokens: int, *runs: tuple[int, int], output: int = 1) -> Turn:
    """Return a request with these blocks of ten tokens."""
    return Turn(prompt_tokens, output, runs)


def ratio(*turns: Turn, **options: int | bool | None) -> float:
    """Return the hit ratio of requests in this order."""
    return hit_ratio([Asked(each) for each in turns], 10, **options)  # type: ignore[arg-type]


def test_what_was_asked_before_is_found() -> None:
    """In full blocks, from the beginning on."""
    first, longer = turn(30, (0, 4)), turn(55, (0, 4), (9, 2))
    assert ratio(first) == 0.0
    assert ratio(first, longer) == 30 / 85
    assert ratio(first, turn(35, (0, 4)), turn(30, (7, 4))) == 30 / 95


def test_answers_are_found_if_they_are_remembered() -> None:
    """As engines do, and as published figures of traces do not."""
    first, following = turn(20, (0, 4), output=20), turn(45, (0, 5))
    assert ratio(first, following) == 40 / 65
    assert ratio(first, following, answers=False) == 20 / 65


def test_the_least_recently_used_is_forgotten() -> None:
    """The end of a text before its beginning."""
    a, b = turn(30, (0, 4)), turn(20, (10, 3))
    assert ratio(a, b, a, capacity_tokens=50) == 30 / 80
    assert ratio(a, b, a, capacity_tokens=40) == 20 / 80
    assert ratio(a, b, a, b, capacity_tokens=30) == (10 + 0) / 100


def test_apart_they_find_less() -> None:
    """Each cache sees every second request."""
    a, b = turn(30, (0, 4)), turn(20, (10, 3))
    assert ratio(a, b, a, b, caches=2) == 0.5
    assert ratio(a, a, b, b, caches=2) == 0.0


def test_what_is_not_counted_still_fills_the_cache() -> None:
    """A warm-up."""
    asked = [Asked(turn(30, (0, 4)), counted=False), Asked(turn(40, (0, 5)))]
    assert hit_ratio(asked, 10) == 30 / 40
    assert hit_ratio(asked[:1], 10) == 0.0


def plain(texts: Sequence[Sequence[int]], capacity: int | None) -> list[int]:
    """Return what each text finds, looked up block by block."""
    held: OrderedDict[int, None] = OrderedDict()
    found = []
    for text in texts:
        count = 0
        while count < len(text) and text[count] in held:
            count += 1
        found.append(count)
        for each in reversed(text):
            held.pop(each, None)
            held[each] = None
        while capacity is not None and len(held) > capacity:
            held.popitem(last=False)
    return found


TEXTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 6)), max_size=30).map(
    # A common beginning and an end of its own: ids imply everything before them, as in real traces.
    lambda drawn: [
        [group * 100 + at for at in range(shared)] + [10_000 * (number + 1) + at for at in range(own)]
        for number, (group, shared, own) in enumerate(drawn)
    ]
)


@given(TEXTS, st.one_of(st.none(), st.integers(0, 20)))
def test_a_cache_finds_what_a_plain_one_finds(texts: list[list[int]], capacity: int | None) -> None:
    """Though it searches by halves."""
    cache, found = Cache(capacity), []
    for text in texts:
        found.append(cache.leading(text))
        cache.put(text, found[-1])
    assert found == plain(texts, capacity)


@given(TEXTS, st.integers(1, 20), st.integers(2, 4))
def test_more_memory_and_fewer_caches_never_find_less(
    texts: list[list[int]], capacity: int, caches: int
) -> None:
    """An unlimited shared cache is the ceiling."""
    asked = [Asked(Turn(10 * len(ids), 1, tuple((each, 1) for each in ids))) for ids in texts if ids]
    infinite = hit_ratio(asked, 10)
    assert hit_ratio(asked, 10, capacity_tokens=10 * capacity) <= infinite
    assert hit_ratio(asked, 10, caches=caches) <= infinite


@pytest.mark.parametrize(
    ("file", "options", "infinite", "apart"),
    [
        ("mooncake_conversation_a", {}, 0.347, 0.123),
        ("agent_sessions_a", {}, 0.884, None),
        # Counted by its publisher without what sessions may share.
        ("claude_code_sessions_a", {"share_prefixes": False}, 0.961, None),
    ],
)
def test_published_traces_have_the_published_ratios(
    file: str, options: dict[str, object], infinite: float, apart: float | None
) -> None:
    """With prompts only, as they were counted."""
    work = workload(TRACES / f"{file}.jsonl.gz", options=options)
    asked = in_order(work)
    assert hit_ratio(asked, work.block_tokens, answers=False) == pytest.approx(infinite, abs=0.0005)
    if apart is not None:
        found = hit_ratio(asked, work.block_tokens, answers=False, caches=8)
        assert found == pytest.approx(apart, abs=0.0005)


def test_the_pooled_cache_of_eight_servers_finds_a_third_of_that() -> None:
    """In Mooncake's conversations: most of what is asked again is asked too late."""
    work = workload(TRACES / "mooncake_conversation_a.jsonl.gz")
    found = hit_ratio(in_order(work), 512, capacity_tokens=KV_TOKENS, answers=False)
    assert found == pytest.approx(0.113, abs=0.0005)


def test_requests_come_in_the_order_of_their_arrival() -> None:
    """A session's one after another, agents when their parent's request is sent."""
    agent = Session("agent", (turn(1, output=1), turn(2, output=1)), 0.5)
    parent = Session("a", (Turn(3, 100, (), 0.0, (agent,)), Turn(4, 1, (), 2.0)))
    other = Session("b", (turn(5), Turn(6, 1, (), 100.0)), 3.0)
    order = in_order(Workload("made", 10, (parent, other)))
    assert [each.turn.prompt_tokens for each in order] == [3, 1, 2, 5, 4, 6]


def record(session: str, arrived: float, fate: Fate = Fate.COMPLETE, **fields: object) -> Record:
    """Return what became of one request."""
    usual: dict[str, object] = {
        "tenant": "",
        "server": 0,
        "held_seconds": 0.0,
        "queued_seconds": 0.0,
        "ttft_seconds": 1.0,
        "e2e_seconds": 1.0,
        "prompt_tokens": 1,
        "output_tokens": 1,
        "cached_tokens": 0,
    }
    return Record(session=session, fate=fate, arrived=arrived, **{**usual, **fields})  # type: ignore[arg-type]


def test_a_run_says_in_which_order_requests_were_sent() -> None:
    """By dispatch, not by arrival; what was tried again counts once, what was not sent not at all."""
    work = Workload("made", 10, (Session("a", (turn(10), turn(11))), Session("b", (turn(20), turn(21)))))
    records = [
        record("a", 0.0, held_seconds=5.0),
        record("b", 1.0, Fate.LOST),
        record("b", 2.0, warmup=True),
        record("a", 8.0, Fate.REJECTED, server=-1),
        record("a", 9.0),
        record("b", 9.5, Fate.UNFINISHED),
    ]
    found = dispatched(work, records)
    assert [(each.turn.prompt_tokens, each.counted) for each in found] == [
        (20, False),
        (20, False),
        (10, True),
        (11, True),
        (21, False),
    ]


def test_records_of_another_workload_are_refused() -> None:
    """The oracle would be another's."""
    with pytest.raises(ValueError, match="session 'x' has no request 0 in workload made"):
        dispatched(Workload("made", 10, ()), [record("x", 0.0)])


def test_no_run_hits_more_than_the_oracles() -> None:
    """With the real servers and the product's own default."""
    work = cut(workload(TRACES / "agent_sessions_a.jsonl.gz"), requests=120)
    done = run(Scenario(name="agents", workload=work), "default", 0)
    found = hit_oracles(dispatched(work, done.records), work.block_tokens, KV_TOKENS)
    prompt = sum(each.prompt_tokens for each in done.records)
    hit = sum(each.cached_tokens for each in done.records) / prompt
    assert 0.3 < hit <= found.infinite
    assert found.pooled <= found.infinite
    assert len(done.records) == 120
