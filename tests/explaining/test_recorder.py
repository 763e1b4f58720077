"""What is kept of decisions, for how long, and how it is found again."""

from __future__ import annotations

import gc
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision
from igw.errors import NobodyLeft, QueueFull
from igw.explaining.record import FEW, KEPT, asked
from igw.explaining.recorder import NotKept, Recorder, Turned, name_of
from igw.explaining.settings import Settings
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import block_hashes
from igw.routing.claims import Claim, View
from igw.scheduling.scheduler import Choice
from tests.explaining.scenes import SECRET, Scene, chat, endpoints


async def test_a_decision_is_found_by_its_id_by_its_request_and_by_a_beginning() -> None:
    """By a beginning if nothing else begins so."""
    scene = Scene()
    first = await scene.sent(chat("a", "aaaaaa-1"))
    second = await scene.sent(chat("b", "aaaaaa-2"))
    assert scene.recorder.find(str(first.id)).id == first.id
    assert scene.recorder.find("aaaaaa-2").id == second.id
    assert scene.recorder.find(str(first.id)[:-1] + str(first.id)[-1]).id == first.id
    third = await scene.sent(chat("c", "bbbbbb-3"))
    assert scene.recorder.find("bbbbbb").id == third.id
    with pytest.raises(NotKept):
        scene.recorder.find("aaaaaa")
    with pytest.raises(NotKept):
        scene.recorder.find("bbb")


async def test_an_id_that_is_nearly_right_is_told_what_comes_near() -> None:
    """With how much is kept, and how to see it."""
    scene = Scene()
    with pytest.raises(NotKept, match="no request has come within the time that is kept"):
        scene.recorder.find("0d5bb735-0244-4709")
    await scene.sent(chat("a", "0d5bb735-0244-4709"))
    scene.now += 5.0
    with pytest.raises(
        NotKept, match="the nearest is 0d5bb735-0244-4709: 1 are kept, of the last 5 s"
    ) as found:
        scene.recorder.find("0d5bb375-0244-4709")  # fmt: skip
    assert found.value.nearest == ("0d5bb735-0244-4709",)


async def test_the_latest_of_a_request_id_is_the_one_that_is_found() -> None:
    """A client may choose it, and use it twice; the first is still found by its own id."""
    scene = Scene(settings=Settings(seconds=10.0))
    first = await scene.sent(chat("a", "same-one"))
    scene.now += 6.0
    second = await scene.sent(chat("b", "same-one"))
    assert scene.recorder.find("same-one").id == second.id
    assert scene.recorder.find(str(first.id)).id == first.id
    scene.now += 6.0  # the first is gone, which takes nothing from the second
    assert scene.recorder.find("same-one").id == second.id


async def test_what_is_too_old_is_dropped_also_when_nothing_comes() -> None:
    """Whether it has ended or not."""
    scene = Scene(settings=Settings(seconds=60.0))
    open_one = await scene.sent()
    scene.end(await scene.sent())
    assert scene.recorder.kept().decisions == 2
    scene.now += 61.0
    kept = scene.recorder.kept()
    assert (kept.decisions, kept.size_bytes, kept.oldest_seconds) == (0, 0, 0.0)
    scene.end(open_one)  # its end finds nothing, and harms nothing
    assert scene.recorder.kept().decisions == 0
    assert not scene.recorder._by_id


async def test_memory_is_bounded_and_refusals_do_not_push_decisions_out() -> None:
    """A storm of refusals has a quarter of it."""
    scene = Scene(settings=Settings(size_bytes=100_000))
    for number in range(100):
        await scene.sent(chat(str(number), f"request-{number}"))
    before = scene.recorder.kept()
    assert 10 < before.decisions < 100
    assert before.size_bytes <= 75_000
    for number in range(1000):
        scene.recorder.refused(chat(request_id=f"refused-{number}"), QueueFull("the queue is full"))
    after = scene.recorder.kept()
    assert after.decisions == before.decisions
    assert after.refusals > 5
    assert after.size_bytes <= 100_000
    assert scene.recorder.find("request-99").endpoints
    with pytest.raises(NotKept):
        scene.recorder.find("request-0")


@pytest.mark.parametrize("count", [4, 100, 1000])
async def test_the_memory_that_is_accounted_is_not_less_than_what_is_taken(count: int) -> None:
    """Measured by the interpreter, for a small pool and a large one."""
    scene = Scene(count)
    told: list[tuple[Claim, View, Choice, Decision]] = []
    scene.router.watchers = (lambda *event: told.append(event),)
    await scene.sent(chat("x" * 4000, "0d5bb735-0244-4709-966f-15b1d060a34e"))
    claim, view, choice, decision = told[0]
    decisions = [msgspec.structs.replace(decision, id=number) for number in range(1, 1001)]
    gc.collect()
    tracemalloc.start()
    try:
        for each in decisions:
            scene.recorder.made(claim, view, choice, each)
        kept = scene.recorder.kept()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.decisions == 1000
    assert 0.3 * kept.size_bytes < taken < kept.size_bytes


async def test_nothing_of_the_prompt_or_of_headers_is_kept() -> None:
    """Not in what is told, and not in memory."""
    scene = Scene()
    decision = await scene.sent(chat("x" * 4000, "one"))
    scene.end(decision)
    record = scene.recorder.find("one")
    assert SECRET.encode() not in msgspec.json.encode(scene.asked("one"))
    seen, queue = set(), [record.asked, record.endpoints, record.names, record.outcome]
    while queue:
        each = queue.pop()
        assert SECRET not in repr(each)
        if id(each) not in seen:
            seen.add(id(each))
            queue += [
                found for found in gc.get_referents(each) if isinstance(found, str | tuple | dict | list)
            ]


async def test_of_a_large_pool_the_best_are_kept_with_those_that_were_picked() -> None:
    """And the one with most of the prompt in its cache, however busy."""
    scene = Scene(FEW + 100)
    warm = endpoints(FEW + 100)[77]
    prompt = chat("x" * 4000)
    scene.prefix.record(scene.prefix.slot(warm.hostport), block_hashes(prompt.seed, prompt.prompt))
    promises = scene.pools.promises_of(scene.columns)
    slot = scene.prefix.slot(warm.hostport)
    for number in range(50):
        promises.send(number + 1, slot, 100_000, 100_000, scene.now, stream=True)
    decision = await scene.sent(chat("x" * 4000, "two"))
    found = scene.asked("two")
    assert decision.endpoint != warm
    assert KEPT <= len(found.candidates) <= KEPT + 4
    assert found.candidates_total == FEW + 100
    assert found.candidates[0].endpoint == decision.endpoint.hostport
    assert found.predicted is not None
    assert found.predicted.best_cached_tokens > 900
    kept = {each.endpoint: each for each in found.candidates}
    assert warm.hostport in kept
    costs = np.sum(list(decision.costs.values()), axis=0)
    at = decision.candidates.index(decision.endpoint)
    assert kept[decision.endpoint.hostport].cost_seconds == pytest.approx(costs[at])


async def test_lists_are_the_latest_first_and_go_on_where_the_last_one_ended() -> None:
    """Decisions and refusals together, by time."""
    scene = Scene()
    names = []
    for number in range(6):
        scene.now += 1.0
        if number % 2:
            scene.recorder.refused(chat(request_id=f"r-{number}"), QueueFull("the queue is full"))
        else:
            await scene.sent(chat(str(number), f"r-{number}"))
        names.append(f"r-{number}")
    latest = scene.recorder.latest(4)
    assert [each.asked.request_id for each in latest] == names[:1:-1]
    assert [each.asked.request_id for each in scene.recorder.latest(9, name_of(latest[-1]))] == [
        "r-1",
        "r-0",
    ]


async def test_a_refusal_says_who_it_was_and_why() -> None:
    """What the queue knew, and what filters left out."""
    scene = Scene()
    request = chat("a", "turned")
    full = QueueFull("the queue is full")
    full.queue_outcome = "RejectedCapacity"
    scene.recorder.turned_away(full, Turned(asked(request, "default/p"), 2.5, 7))
    scene.recorder.refused(request, full)
    nobody = NobodyLeft("no endpoint is left")
    nobody.left_out = {"decode-filter": ["10.0.0.0:8000"]}
    scene.recorder.refused(chat("b", "filtered"), nobody)
    scene.recorder.refused(None, nobody)  # who cannot be read is told so, and that is all
    assert scene.recorder.kept().refusals == 2
    turned, filtered = scene.asked("turned"), scene.asked("filtered")
    assert turned.id == "refused-1"
    assert scene.asked("refused-2").asked.request_id == "filtered"
    assert turned.refusal is not None
    assert (turned.refusal.queue_outcome, turned.refusal.waiting, turned.waited_seconds) == (
        "RejectedCapacity",
        7,
        2.5,
    )
    assert [(gone.by, gone.endpoints) for gone in filtered.left_out] == [("decode-filter", ["10.0.0.0:8000"])]


async def test_an_end_is_kept_with_its_decision_however_late_it_is_taken_in() -> None:
    """Also one that comes inside of the reservation, and one of a request that an earlier picker decided."""
    scene = Scene()
    scene.ledger.over("left", Outcome(End.ABORTED))
    decision = await scene.sent(chat("a", "left"))
    assert scene.recorder.find("left").outcome == Outcome(End.ABORTED)
    scene.recorder.ended(msgspec.structs.replace(decision, id=5), Outcome(End.ABORTED))
    assert scene.recorder.kept().decisions == 1


@given(st.lists(st.tuples(st.sampled_from("mer"), st.integers(0, 9), st.floats(0, 40)), max_size=60))
def test_whatever_happens_tables_agree_and_memory_is_bounded(events: list[tuple[str, int, float]]) -> None:
    """Made, ended, refused, in any order and at any pace: nothing is left of what was dropped."""
    scene = Scene(2, settings=Settings(seconds=60.0, size_bytes=20_000))
    sender = _Sender(scene)
    for kind, number, later in events:
        scene.now += later
        if kind == "m":
            sender.send(f"request-{number}")
        elif kind == "e":
            sender.end()
        else:
            scene.recorder.refused(chat(request_id=f"request-{number}"), QueueFull("full"))
    kept, recorder = scene.recorder.kept(), scene.recorder
    records = recorder.latest(1000)
    assert kept.size_bytes == sum(each.size_bytes for each in records) <= 20_000
    assert set(recorder._by_id) == {each.id for each in records}
    assert all(scene.now - each.decided_at <= 60.0 for each in records)


class _Sender:
    """Sends and ends without a loop: a pick awaits nothing."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._open: list[Decision] = []

    def send(self, request_id: str) -> None:
        step = self._scene.sent(chat(request_id=request_id))
        try:
            step.send(None)
        except StopIteration as done:
            self._open.append(done.value)

    def end(self) -> None:
        if self._open:
            self._scene.end(self._open.pop(0))


def test_settings_may_turn_it_off() -> None:
    """Either of them."""
    assert Settings(seconds=0).off
    assert Settings(size_bytes=0).off
    assert not Settings().off
    assert isinstance(Scene().recorder, Recorder)
