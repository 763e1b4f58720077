"""What a record says: transcripts of sentences, and values that are JSON."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from igw.endpoint import Endpoint
from igw.errors import QueueFull, WaitedTooLong
from igw.explaining.explanation import TERMS, Explanation, explained, line
from igw.explaining.record import Asked, Record, Refusal, asked
from igw.explaining.recorder import Turned
from igw.facts import APPROXIMATE, EXACT
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.scheduling.filters.label_selector import LabelSelectorFilter
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.random_order import RandomPicker
from igw.scheduling.profile import Filtering, Profile, Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer
from igw.scheduling.scorers.queue import QueueScorer
from tests.explaining.scenes import Scene, chat, endpoints

NEAR_TIE = Scheduler.of((), type("Near", (), {"type": "near-tie-picker"})())


def record(costs: dict[str, list[float]], **fields: object) -> Record:
    """Return a record of as many candidates as the terms have; the first was picked."""
    scores = fields.pop("scores", {})
    count = len(next(iter({**costs, **scores}.values())))  # type: ignore[dict-item]
    matches = fields.pop("matches", [0.0] * count)
    rows = np.array([*scores.values(), *costs.values(), matches], dtype=np.float64)  # type: ignore[attr-defined]
    who = Asked(prompt_tokens=1500, stream=True)
    made = Record(
        7, who, 100.0, 0.0, 1000, endpoints(count)[:1], endpoints(count), range(count),
        (tuple(scores), tuple(costs)), rows.tobytes(), profile="default", scheduler=NEAR_TIE,
    )  # type: ignore[call-overload]  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def says(found: Record) -> str:
    """Return its sentence."""
    return explained(found, 0.0).sentence


DONE = Outcome(End.COMPLETE, status=200, ttft_seconds=0.15, duration_seconds=1.0)
SENTENCES: dict[str, tuple[Callable[[], Record], str]] = {
    "the least, and why": (
        lambda: record({"backlog": [0.02, 0.33], "prefill": [0.1, 0.1]}, matches=[1024.0, 1024.0]),
        "vllm-0, because it would add 120 ms, 310 ms less than vllm-1, mostly because less prefill is before it; "
        "1,024 of its about 1,500 tokens are cached there; it has not ended yet.",
    ),
    "by its cache": (
        lambda: record({"backlog": [0.05, 0.0], "prefill": [0.1, 1.4]}, matches=[1408.0, 0.0], outcome=DONE, expected_ttft_seconds=0.13),
        "vllm-0, because it would add 150 ms, 1.25 s less than vllm-1, mostly because more of its prompt is cached there; "
        "1,408 of its about 1,500 tokens are cached there; its first token came after 150 ms, 130 ms expected.",
    ),
    "away from its cache": (
        lambda: record({"backlog": [0.0, 2.0], "prefill": [1.4, 0.1]}, matches=[0.0, 1408.0]),
        "vllm-0, because it would add 1.4 s, 700 ms less than vllm-1, mostly because less prefill is before it; "
        "0 of its about 1,500 tokens are cached there, 1,408 at vllm-1; it has not ended yet.",
    ),
    "the same": (
        lambda: record({"prefill": [0.1, 0.1]}),
        "vllm-0, because it would add 100 ms, and vllm-1 would add the same: a near tie, which goes to the coldest cache; "
        "nobody has any of its about 1,500 tokens cached; it has not ended yet.",
    ),
    "a near tie": (
        lambda: record({"prefill": [0.11, 0.1]}, waited_seconds=2.5),
        "vllm-0, which would add 110 ms, 10 ms more than vllm-1: a near tie, which goes to the coldest cache; "
        "nobody has any of its about 1,500 tokens cached; it had waited 2.5 s for a place; it has not ended yet.",
    ),
    "by scores": (
        lambda: record({}, scores={"queue-scorer": [1.0, 0.2], "prefix-cache-scorer": [0.5, 0.6]}, asked=Asked()),
        "vllm-0, because it scores 1.5, 0.7 more than vllm-1, mostly by queue-scorer; it has not ended yet.",
    ),
    "the same scores": (
        lambda: record({}, scores={"queue-scorer": [1.0, 1.0]}, asked=Asked()),
        "vllm-0, because it scores 1, and vllm-1 scores the same: ties break by chance; it has not ended yet.",
    ),
    "the only one": (
        lambda: record({"prefill": [0.1]}, asked=Asked()),
        "vllm-0, because it was the only candidate; it has not ended yet.",
    ),
    "the only one that is left": (
        lambda: record({}, scores={"queue-scorer": [1.0, np.nan, np.nan]}, left_out={"role": [1, 2]}, asked=Asked()),
        "vllm-0, because role left out the other 2; it has not ended yet.",
    ),
    "a retry": (
        lambda: record({"prefill": [0.1, 0.2]}, asked=Asked(),
                       outcome=Outcome(End.COMPLETE, 200, served_by="10.0.0.1:8000", unreachable=True)),
        "vllm-0, because it would add 100 ms, 100 ms less than vllm-1, mostly because more of its prompt is cached there; "
        "vllm-1 served it in the end, because vllm-0 could not be reached.",
    ),
    "a client that left": (
        lambda: record({"prefill": [0.1]}, asked=Asked(), outcome=Outcome(End.ABORTED)),
        "vllm-0, because it was the only candidate; its client went away.",
    ),
    "a failure": (
        lambda: record({"prefill": [0.1]}, asked=Asked(), outcome=Outcome(End.FAILED, 503)),
        "vllm-0, because it was the only candidate; it failed with 503.",
    ),
    "an end that nobody told": (
        lambda: record({"prefill": [0.1]}, asked=Asked(), outcome=Outcome(End.UNKNOWN)),
        "vllm-0, because it was the only candidate; nobody told how it ended.",
    ),
    "filtered": (
        lambda: Record(-1, Asked(), 0.0, 0.0, 0, refusal=Refusal(429, "ResourceExhausted", "rejected-saturated", "nobody is left",
                                                                   left_out={"role": ["a", "b"]})),
        "Nowhere, 429 ResourceExhausted: nobody is left; role left out 2.",
    ),
    "waited in vain": (
        lambda: Record(-1, Asked(priority=-1), 0.0, 5.0, 0,
                       refusal=Refusal(429, "TooManyRequests", "rejected-ttl-expired", "no endpoint had room in time", "EvictedTTL", 12)),
        "Nowhere, 429 TooManyRequests: no endpoint had room in time; it had waited 5 s, at priority -1, with 12 others waiting.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_says_why(name: str) -> None:
    """As a person reads it."""
    made, sentence = SENTENCES[name]
    assert says(made()) == sentence


async def test_every_term_of_a_cost_has_a_text_and_adds_up() -> None:
    """Each in seconds; the pick leads, then the others by cost."""
    scene = Scene(4)
    decision = await scene.sent(chat("x" * 4000, "one"))
    found = scene.asked("one")
    assert found.unit == "s"
    assert set(found.terms) <= set(TERMS)
    assert found.candidates[0].endpoint == decision.endpoint.hostport
    for each in found.candidates:
        assert each.cost_seconds == pytest.approx(sum(each.costs.values()))
    costs = [each.cost_seconds or 0.0 for each in found.candidates[1:]]
    assert costs == sorted(costs)
    assert found.margin == pytest.approx(costs[0] - (found.candidates[0].cost_seconds or 0.0))
    assert found.weights == {"marginal-work-scorer": 1.0}
    assert found.picker == "near-tie-picker"
    assert [each.rank for each in found.candidates].count(1) == 1


async def test_what_was_predicted_stands_beside_what_came() -> None:
    """From dispatch both, so that waiting in a queue is no model server's fault."""
    scene = Scene()
    decision = await scene.sent(chat("x" * 4000, "one"))
    assert scene.asked("one").actual is None
    scene.end(decision, ttft_seconds=0.4, prompt_tokens=1010, completion_tokens=20, cached_tokens=16)
    found = scene.asked("one")
    assert found.predicted is not None
    assert found.actual is not None
    assert found.predicted.ttft_seconds == decision.expected_ttft_seconds
    assert (found.actual.ttft_seconds, found.actual.client_ttft_seconds) == (0.4, 0.4)
    assert (found.actual.prompt_tokens, found.actual.cached_tokens, found.actual.completion_tokens) == (
        1010,
        16,
        20,
    )
    assert found.actual.served_by == decision.endpoint.hostport


def test_where_each_hit_is_known_from_is_told() -> None:
    """By candidate; nothing where nothing matched."""
    by = np.array([EXACT, APPROXIMATE, ""])
    found = explained(record({"prefill": [0.1, 0.2, 0.3]}, matches=[512.0, 256.0, 0.0], matches_by=by), 0.0)
    assert [(each.matched_tokens, each.matched_by) for each in found.candidates] == [
        (512, EXACT),
        (256, APPROXIMATE),
        (0, ""),
    ]
    assert found.predicted is not None
    assert (found.predicted.cached_tokens, found.predicted.cached_by) == (512, EXACT)


async def test_who_was_left_out_is_told_by_which_filter_and_what_it_does() -> None:
    """With its parameters; endpoints that were no candidates are told apart."""
    selector = msgspec.convert({"matchLabels": {"tier": "gold"}}, LabelSelectorFilter)
    profile = Profile(
        (Weighted("queue-scorer", QueueScorer(), 2.0), Weighted("prefix", PrefixCacheScorer(), 3.0)),
        MaxScorePicker(),
        (Filtering("gold-only", selector),),
    )
    scheduler = Scheduler({"default": profile})
    scheduler = msgspec.structs.replace(
        scheduler, plugins=msgspec.structs.replace(scheduler.plugins, by_name={"gold-only": selector})
    )
    scene = Scene(scheduler=scheduler)
    labelled = [Endpoint.at(f"10.0.0.{n}", 8000, f"vllm-{n}", labels={"tier": "gold" if n < 2 else "tin"}) for n in range(6)]  # fmt: skip
    (columns,) = scene.pools.all()
    scene.pools.adopt({"default/p": msgspec.structs.replace(columns.pool, endpoints=tuple(labelled))})
    columns.fail("10.0.0.4:8000")
    columns.eject("10.0.0.5:8000", scene.now + 30.0)
    await scene.sent(chat("a", "one", subset=tuple(f"10.0.0.{n}:8000" for n in (0, 1, 2, 4, 5))))
    found = scene.asked("one")
    assert {(gone.by, *gone.endpoints) for gone in found.left_out} == {
        ("subset", "10.0.0.3:8000"),
        ("failing", "10.0.0.4:8000"),
        ("ejected", "10.0.0.5:8000"),
        ("gold-only", "10.0.0.2:8000"),
    }
    (why,) = (gone.why for gone in found.left_out if gone.by == "gold-only")
    assert "'tier': 'gold'" in why
    assert [each.left_out_by for each in found.candidates] == ["", "", "gold-only"]
    assert found.candidates[-1].score is None
    assert found.weights == {"queue-scorer": 2.0, "prefix": 3.0}


async def test_a_picker_that_goes_by_nothing_is_said_to() -> None:
    """No score, no cost, no margin."""
    scene = Scene(scheduler=Scheduler.of((), RandomPicker()))
    decision = await scene.sent(chat("a", "one"))
    found = scene.asked("one")
    assert found.sentence.startswith(
        f"{decision.endpoint.name}, taken by random-picker, which goes by no score"
    )
    assert found.margin is None


async def test_filters_that_leave_nobody_are_named_in_the_refusal() -> None:
    """Through the scheduler, as the wire sees it."""
    selector = msgspec.convert({"matchLabels": {"tier": "gold"}}, LabelSelectorFilter)
    profile = Profile((), MaxScorePicker(), (Filtering("gold-only", selector),))
    scene = Scene(2, scheduler=Scheduler({"default": profile}))
    request = chat("a", "one")
    with pytest.raises(Exception, match="no endpoint is left") as refused:
        await scene.sent(request)
    scene.recorder.refused(request, refused.value)  # type: ignore[arg-type]
    found = scene.asked("one")
    assert found.endpoint == ""
    assert [(gone.by, gone.count) for gone in found.left_out] == [("gold-only", 2)]
    assert found.sentence.endswith("gold-only left out 2.")


async def test_everything_is_json_and_comes_back() -> None:
    """What the command line and the dashboard read."""
    scene = Scene()
    decision = await scene.sent(chat("x" * 4000, "one"))
    scene.end(decision, prompt_tokens=1010, completion_tokens=20, cached_tokens=0)
    late = WaitedTooLong("no endpoint had room in time")
    scene.recorder.turned_away(late, Turned(asked(chat("b", "two"), "default/p"), 5.0, 3))
    scene.recorder.refused(chat("b", "two"), late)
    scene.recorder.refused(chat("b", "three"), QueueFull("the queue is full"))
    for each in ("one", "two", "three"):
        found = scene.asked(each)
        assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
        row = line(scene.recorder.find(each), 1_000.0)
        assert (row.sentence, row.id, row.at) == (found.sentence, found.id, 1_100.0)
    assert line(scene.recorder.find("one"), 0.0).status == 200
    assert line(scene.recorder.find("two"), 0.0).end == "refused"


def test_usage_that_no_engine_told_is_not_zero() -> None:
    """What is not known is not written as a number."""
    found = explained(record({"prefill": [0.1]}, outcome=Outcome(End.COMPLETE, 200, usage=Usage())), 0.0)
    assert found.actual is not None
    assert found.actual.cached_tokens is found.actual.ttft_seconds is found.actual.duration_seconds is None
