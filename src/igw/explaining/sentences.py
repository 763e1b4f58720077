"""Why, in one sentence that a person reads first. Its numbers are those of the table beneath it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from igw.explaining.record import Record, Refusal, Seen
from igw.facts import Column
from igw.outcomes.outcome import End, Outcome

SECONDS, SCORE = "s", "score"
_NONE: Column = np.zeros(0)
_SAME_SECONDS = 5e-4
_SAME_SCORE = 5e-4
_MOST_OF_IT = 0.5
_WORTH_SAYING_SECONDS = 0.01

_MOSTLY = {
    "backlog": "less prefill is before it",
    "prefill": "more of its prompt is cached there",
    "queue": "fewer wait there",
    "stall": "fewer are being answered there",
    "memory": "there is more KV memory free",
    "decode": "answers are written faster there",
    "slowdown": "it slows down fewer answers there",
    "crowding": "fewer wait for memory there",
    "adapter": "its adapter is there",
    "fetch": "less has to be fetched",
    "generate_backlog": "fewer pictures or sounds are before it",
    "generate": "it is faster",
}


class Told(msgspec.Struct, frozen=True):
    """How candidates stand to each other. Rows are those of the record's columns."""

    seen: Seen
    order: Sequence[int]
    """Rows: the picked one, then the others, the best first; those that were left out last."""
    picked: int | None
    runner_up: int | None
    totals: Column
    """Sum of scores; NaN for those that were left out. Empty where nobody scores."""
    margin: float | None
    unit: str
    """What `margin` is in."""
    picker: str

    @classmethod
    def of(cls, record: Record, picker: str) -> Told:
        """Return how the candidates of *record* stand."""
        seen = record.seen()
        rows = range(len(record.shown))
        totals = np.add.reduce(list(seen.scores.values())) if seen.scores else _NONE
        out = {index for indices in record.left_out.values() for index in indices}
        ranked = [row for row in rows if record.shown[row] not in out]
        if len(seen.cost):
            ranked.sort(key=lambda row: float(seen.cost[row]))
        elif len(totals):
            ranked.sort(key=lambda row: -float(totals[row]))
        where = record.endpoints[0].hostport if record.endpoints else ""
        picked = next((row for row in rows if record.candidates[record.shown[row]].hostport == where), None)
        others = [row for row in ranked if row != picked]
        runner_up = others[0] if others and picked is not None else None
        margin, unit = None, SECONDS if len(seen.cost) else SCORE
        if picked is not None and runner_up is not None:
            if len(seen.cost):
                margin = float(seen.cost[runner_up] - seen.cost[picked])
            elif len(totals):
                margin = float(totals[picked] - totals[runner_up])
        first = [] if picked is None else [picked]
        last = [row for row in rows if record.shown[row] in out]
        return cls(seen, [*first, *others, *last], picked, runner_up, totals, margin, unit, picker)


def sentence(record: Record, told: Told) -> str:
    """Return why *record* is as it is."""
    if record.refusal is not None:
        return _refused(record, record.refusal)
    return "; ".join([why(record, told), *_ended(record)]) + "."


def why(record: Record, told: Told) -> str:
    """Return why a decision was made, without how it ended."""
    return _why(record, told) + _cached(record, told) + _waited(record)


def seconds(value: float) -> str:
    """Return *value* seconds to three digits, with a unit that suits it."""
    if abs(value) >= 1.0:
        return f"{value:.3g} s" if abs(value) < 100 else f"{value:.0f} s"
    return f"{value * 1000:.3g} ms"


def _why(record: Record, told: Told) -> str:
    name = record.endpoints[0].name
    if told.picked is None:
        return f"{name}: a plugin sent it there, past its candidates"
    if told.runner_up is None:
        count, gone = len(record.candidates), sum(len(each) for each in record.left_out.values())
        filters = " and ".join(record.left_out)
        if gone:
            return f"{name}, because {filters} left out the other {gone}"
        return f"{name}, because it was the only candidate" if count == 1 else name
    other = record.candidates[record.shown[told.runner_up]].name
    if told.margin is None:
        return f"{name}, taken by {told.picker or 'the picker'}, which goes by no score"
    if told.unit == SECONDS:
        return _by_cost(record, told, name, other)
    return _by_score(record, told, name, other)


def _by_cost(record: Record, told: Told, name: str, other: str) -> str:
    row, runner_up, margin = told.picked, told.runner_up, told.margin
    assert row is not None and runner_up is not None and margin is not None  # noqa: S101, PT018 (so says `_why`)
    adds = seconds(float(told.seen.cost[row]))
    if abs(margin) < _SAME_SECONDS:
        return f"{name}, because it would add {adds}, and {other} would add the same{_among_equals(told)}"
    if margin < 0:
        return f"{name}, which would add {adds}, {seconds(-margin)} more than {other}{_among_equals(told)}"
    less = f"{name}, because it would add {adds}, {seconds(margin)} less than {other}"
    term, gain = max(
        ((term, float(column[runner_up] - column[row])) for term, column in told.seen.costs.items()),
        key=lambda each: each[1],
        default=("", 0.0),
    )
    mostly = gain >= _MOST_OF_IT * margin and term in _MOSTLY
    return f"{less}, mostly because {_MOSTLY[term]}" if mostly else less


def _among_equals(told: Told) -> str:
    if told.picker == "near-tie-picker":
        return ": a near tie, which goes to the coldest cache"
    return f": that is how {told.picker} takes" if told.picker else ""


def _by_score(record: Record, told: Told, name: str, other: str) -> str:
    row, runner_up, margin = told.picked, told.runner_up, told.margin
    assert row is not None and runner_up is not None and margin is not None  # noqa: S101, PT018
    scores = f"{float(told.totals[row]):.3g}"
    if abs(margin) < _SAME_SCORE:
        return f"{name}, because it scores {scores}, and {other} scores the same: ties break by chance"
    if margin < 0:
        return f"{name}, which scores {scores}, {-margin:.3g} less than {other}: that is how {told.picker or 'the picker'} takes"
    more = f"{name}, because it scores {scores}, {margin:.3g} more than {other}"
    scorer, gain = max(
        ((scorer, float(column[row] - column[runner_up])) for scorer, column in told.seen.scores.items()),
        key=lambda each: each[1],
        default=("", 0.0),
    )
    return (
        f"{more}, mostly by {scorer}" if gain >= _MOST_OF_IT * margin and len(told.seen.scores) > 1 else more
    )


def _cached(record: Record, told: Told) -> str:
    """Return how much of the prompt was believed cached."""
    if not record.asked.prompt_tokens or told.picked is None or not len(told.seen.matches):
        return ""
    here, most = int(told.seen.matches[told.picked]), int(told.seen.matches.max())
    prompt = f"about {record.asked.prompt_tokens:,} tokens"
    if not most:
        return f"; nobody has any of its {prompt} cached"
    if here >= most:
        return f"; {here:,} of its {prompt} are cached there"
    row = int(told.seen.matches.argmax())
    return f"; {here:,} of its {prompt} are cached there, {most:,} at {record.candidates[record.shown[row]].name}"


def _waited(record: Record) -> str:
    if record.waited_seconds < _WORTH_SAYING_SECONDS:
        return ""
    return f"; it had waited {seconds(record.waited_seconds)} for a place"


def _ended(record: Record) -> list[str]:
    outcome = record.outcome
    if outcome is None:
        return ["it has not ended yet"]
    parts = []
    where = record.endpoints[0]
    if outcome.served_by not in ("", where.hostport):
        others = (*record.endpoints, *record.candidates)
        server = next((each.name for each in others if each.hostport == outcome.served_by), outcome.served_by)
        parts.append(f"{server} served it in the end, because {_why_elsewhere(record, outcome)}")
    if outcome.end is End.ABORTED:
        parts.append("its client went away")
    elif outcome.end is End.UNKNOWN:
        parts.append("nobody told how it ended")
    elif outcome.end is End.FAILED or outcome.status >= 400:
        parts.append(f"it failed with {outcome.status}" if outcome.status else "it failed")
    ttft, expected = outcome.ttft_seconds, record.expected_ttft_seconds
    if outcome.end is End.COMPLETE and ttft is not None and record.asked.stream and expected:
        real = max(0.0, ttft - record.waited_seconds)
        parts.append(f"its first token came after {seconds(real)}, {seconds(expected)} expected")
    return parts


def _why_elsewhere(record: Record, outcome: Outcome) -> str:
    picked, *retries = record.endpoints
    if outcome.unreachable:
        return f"{picked.name} could not be reached"
    if any(each.hostport == outcome.served_by for each in retries):
        return f"{picked.name} did not take it"
    return "the gateway sent it there"


def _refused(record: Record, refusal: Refusal) -> str:
    gone = "".join(f"; {name} left out {len(each):,}" for name, each in refusal.left_out.items())
    waited = ""
    if refusal.queue_outcome:
        others = f", with {refusal.waiting:,} others waiting" if refusal.waiting else ""
        had = (
            "it did not wait"
            if not record.waited_seconds
            else f"it had waited {seconds(record.waited_seconds)}"
        )
        waited = f"; {had}, at priority {record.asked.priority}{others}"
    return f"Nowhere, {refusal.status} {refusal.code}: {refusal.message}{gone}{waited}."
