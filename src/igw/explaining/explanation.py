"""What a record says: values that are JSON for everybody who shows decisions. The sentence is `sentences`; how it looks on a terminal is `table`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from igw.explaining.record import Absent, Asked, Record, Refusal
from igw.explaining.recorder import name_of
from igw.explaining.sentences import Told, sentence
from igw.facts import APPROXIMATE

_MOST_NAMED = 50
"""Endpoints that one filter left out and that are named; they are counted all."""

TERMS: Mapping[str, str] = {
    "backlog": "prefill of those that are before it",
    "prefill": "its own prefill: what of its prompt is not cached there",
    "queue": "how much its prefill delays those that wait there",
    "stall": "how much its prefill delays those that are being answered there",
    "memory": "waiting for KV memory, or for a seat in the batch",
    "decode": "its own answer; a second of it counts a tenth",
    "slowdown": "how much it slows down the answers that are written there; a second counts a twentieth",
    "crowding": "the memory that it takes from those that wait for some",
    "adapter": "loading its adapter",
    "fetch": "fetching KV cache from elsewhere",
    "generate_backlog": "pictures or sound that are before it",
    "generate": "making its own pictures or sound",
}
"""What the seconds of a cost are spent on (`igw.work.cost`)."""

_ABSENT = {
    "subset": "the gateway's subset hint does not name them",
    "failing": "they refused connections, or their metrics could not be read",
    "ejected": "their requests kept failing; they come back by and by",
    "kept": "kept free for a request that has waited longer, or screened out by a plugin",
}


class Candidate(msgspec.Struct, frozen=True):
    """One candidate as it was seen."""

    endpoint: str
    """`ip:port`."""
    name: str
    rank: int | None
    """0: picked; 1 and more: where the gateway retries, in this order; None: neither."""
    score: float | None
    """Sum of `scores`, by which the picker goes: more is better. None: it was left out, or there is no scorer."""
    scores: Mapping[str, float]
    """Weighted, by name of the scorer."""
    cost_seconds: float | None
    """Sum of `costs`: delay that the request would have added there, to itself and to others."""
    costs: Mapping[str, float]
    matched_tokens: int
    """Of the prompt, believed to be cached there."""
    matched_by: str
    """By what that is known: exact, speculative, approximate; empty where nothing matched."""
    hindsight_seconds: float | None = None
    """What it would have cost by what was known in the end; None where that was not worked out."""
    left_out_by: str = ""
    """The filter that did; empty: it was ranked."""


class LeftOut(msgspec.Struct, frozen=True):
    """Endpoints that were not ranked, and why."""

    by: str
    """Name of the filter; `subset`, `failing`, `ejected` or `kept` for those that were no candidates."""
    why: str
    count: int
    endpoints: list[str]
    """`ip:port`, not more than fifty."""


class Predicted(msgspec.Struct, frozen=True):
    """What was expected of the picked endpoint."""

    ttft_seconds: float | None
    """From dispatch; None where nobody asks for costs."""
    cached_tokens: int
    cached_by: str
    best_cached_tokens: int
    """Where most of the prompt was cached, among the candidates."""
    fetched_tokens: int = 0
    fetched_from: str = ""
    """Kind of memory, and `ip:port` of the peer if one was named."""


class Actual(msgspec.Struct, frozen=True):
    """What became of it. None: not known."""

    end: str
    """complete, aborted, failed or unknown."""
    status: int
    served_by: str
    """`ip:port`: not the picked one where that could not be reached and another was tried."""
    ttft_seconds: float | None
    """From dispatch, for streams: the first byte of an answer in one piece is its last."""
    client_ttft_seconds: float | None
    """From the request to the first byte of its answer."""
    duration_seconds: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None


class Regret(msgspec.Struct, frozen=True):
    """What another candidate would have been better by, by what was known in the end (`igw.explaining.regret`)."""

    seconds: float
    best: str
    """`ip:port`; the picked one where it was right."""


class Explanation(msgspec.Struct, frozen=True):
    """Why a request went where it went."""

    id: str
    at: float
    """When it was decided, in seconds since 1970."""
    sentence: str
    asked: Asked
    endpoint: str
    """`ip:port` of the pick; empty for a request that went nowhere."""
    name: str
    retries: list[str]
    runner_up: str
    """`ip:port` of the next best; empty where there was none."""
    margin: float | None
    """By how much the pick was better than that, in `unit`; below 0 where the picker did not go by the totals alone."""
    unit: str
    """`s` or `score`: what candidates were ranked by."""
    waited_seconds: float
    """In a queue, mostly."""
    profile: str
    picker: str
    """Type of the plugin that took it from the ranking."""
    candidates: list[Candidate]
    """The best first; of large pools the best few."""
    candidates_total: int
    left_out: list[LeftOut]
    other_profiles: Mapping[str, list[str]]
    """What they picked, as `ip:port`; nothing for one whose filters left nobody."""
    terms: Mapping[str, str]
    """What each of the terms in `costs` stands for."""
    weights: Mapping[str, float]
    """Of each scorer: the most that it can give."""
    predicted: Predicted | None
    actual: Actual | None
    """None: it has not ended."""
    regret: Regret | None
    refusal: Refusal | None
    """Why it went nowhere."""


class Line(msgspec.Struct, frozen=True):
    """One decision in a list."""

    id: str
    at: float
    request_id: str
    pool: str
    model: str
    endpoint: str
    name: str
    sentence: str
    waited_seconds: float
    status: int
    """Of the answer, also of ours; 0: it has not ended."""
    end: str
    """As in `Actual`; `refused` for one that went nowhere, empty: it has not ended."""
    predicted_ttft_seconds: float | None
    ttft_seconds: float | None


def explained(record: Record, started_at: float) -> Explanation:
    """Return what *record* says; *started_at* is when its clock was 0, in seconds since 1970."""
    shown = told(record)
    scheduler, picked = record.scheduler, record.endpoints[0] if record.endpoints else None
    profile = getattr(scheduler, "profiles", {}).get(record.profile)
    runner_up = shown.runner_up
    return Explanation(
        id=name_of(record),
        at=started_at + record.decided_at,
        sentence=sentence(record, shown),
        asked=record.asked,
        endpoint=picked.hostport if picked is not None else "",
        name=picked.name if picked is not None else "",
        retries=[endpoint.hostport for endpoint in record.endpoints[1:]],
        runner_up=record.candidates[record.shown[runner_up]].hostport if runner_up is not None else "",
        margin=shown.margin,
        unit=shown.unit,
        waited_seconds=record.waited_seconds,
        profile=record.profile,
        picker=shown.picker,
        candidates=_candidates(record, shown),
        candidates_total=len(record.candidates),
        left_out=list(_left_out(record)),
        other_profiles={name: list(picks) for name, picks in record.others.items()},
        terms={name: TERMS.get(name, name) for name in shown.seen.costs},
        weights={each.name: each.weight for each in profile.scorers} if profile is not None else {},
        predicted=_predicted(record, shown),
        actual=_actual(record),
        regret=_regret(record),
        refusal=record.refusal,
    )


def line(record: Record, started_at: float) -> Line:
    """Return *record* in one line."""
    actual, refusal = _actual(record), record.refusal
    picked = record.endpoints[0] if record.endpoints else None
    return Line(
        id=name_of(record),
        at=started_at + record.decided_at,
        request_id=record.asked.request_id,
        pool=record.asked.pool,
        model=record.asked.model,
        endpoint=picked.hostport if picked is not None else "",
        name=picked.name if picked is not None else "",
        sentence=sentence(record, told(record)),
        waited_seconds=record.waited_seconds,
        status=actual.status if actual is not None else refusal.status if refusal is not None else 0,
        end=actual.end if actual is not None else "refused" if refusal is not None else "",
        predicted_ttft_seconds=record.expected_ttft_seconds or None,
        ttft_seconds=actual.ttft_seconds if actual is not None else None,
    )


def told(record: Record) -> Told:
    """Return how the candidates of *record* stand to each other."""
    profile = getattr(record.scheduler, "profiles", {}).get(record.profile)
    return Told.of(record, profile.picker.type if profile is not None else "")


def _candidates(record: Record, shown: Told) -> list[Candidate]:
    ranks = {endpoint.hostport: rank for rank, endpoint in enumerate(record.endpoints)}
    by_filter = {index: name for name, indices in record.left_out.items() for index in indices}
    found = []
    for row in shown.order:
        index = record.shown[row]
        endpoint = record.candidates[index]
        matched = int(shown.seen.matches[row]) if len(shown.seen.matches) else 0
        by = str(record.matches_by[row]) if len(record.matches_by) else APPROXIMATE
        found.append(
            Candidate(
                endpoint.hostport,
                endpoint.name,
                ranks.get(endpoint.hostport),
                _number(shown.totals, row),
                {name: float(column[row]) for name, column in shown.seen.scores.items() if column[row] == column[row]},
                _number(shown.seen.cost, row),
                {name: float(column[row]) for name, column in shown.seen.costs.items()},
                matched,
                by if matched else "",
                _number(record.hindsight, row),
                by_filter.get(index, ""),
            )
        )  # fmt: skip
    return found


def _number(column: Any, row: int) -> float | None:
    """Return a number of *column*; None where it is none."""
    value = float(column[row]) if len(column) else np.nan
    return value if np.isfinite(value) else None


def _left_out(record: Record) -> Iterable[LeftOut]:
    """Yield who was not ranked: those that were no candidates first."""
    if record.absent is not None:
        for by, names in _absent(record.absent, {each.hostport for each in record.candidates}).items():
            yield LeftOut(by, _ABSENT[by], len(names), names[:_MOST_NAMED])
    plugins = getattr(getattr(record.scheduler, "plugins", None), "by_name", {})
    for name, indices in record.left_out.items():
        names = [record.candidates[index].hostport for index in indices[:_MOST_NAMED]]
        yield LeftOut(name, _what_it_does(plugins.get(name)), len(indices), names)
    refusal = record.refusal
    for name, gone in refusal.left_out.items() if refusal is not None else ():
        yield LeftOut(name, _what_it_does(plugins.get(name)), len(gone), list(gone[:_MOST_NAMED]))


def _absent(absent: Absent, candidates: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    allowed = None if absent.subset is None else set(absent.subset)
    for row, endpoint in enumerate(absent.pool.endpoints):
        if endpoint.hostport in candidates:
            continue
        if allowed is not None and not {endpoint.hostport, endpoint.address} & allowed:
            by = "subset"
        elif absent.failing[row]:
            by = "failing"
        else:
            by = "ejected" if absent.ejected[row] else "kept"
        found.setdefault(by, []).append(endpoint.hostport)
    return found


def _what_it_does(plugin: Any) -> str:
    """Return what a plugin says of itself, and its parameters."""
    if plugin is None:
        return ""
    says = (inspect.getdoc(type(plugin)) or "").partition("\n")[0]
    parameters = msgspec.to_builtins(plugin, enc_hook=repr) if isinstance(plugin, msgspec.Struct) else {}
    return f"{says} {parameters}" if parameters else says


def _predicted(record: Record, shown: Told) -> Predicted | None:
    if shown.picked is None:
        return None
    row, fetch = shown.picked, record.fetch
    cached = int(shown.seen.matches[row]) if len(shown.seen.matches) else 0
    by = str(record.matches_by[row]) if len(record.matches_by) else APPROXIMATE
    return Predicted(
        record.expected_ttft_seconds or None,
        cached,
        by if cached else "",
        int(shown.seen.matches.max()) if len(shown.seen.matches) else 0,
        fetch.tokens if fetch is not None else 0,
        f"{fetch.tier} {fetch.peer}".strip() if fetch is not None else "",
    )


def _actual(record: Record) -> Actual | None:
    outcome = record.outcome
    if outcome is None:
        return None
    ttft = outcome.ttft_seconds
    return Actual(
        outcome.end.value,
        outcome.status,
        outcome.served_by or record.endpoints[0].hostport,
        max(0.0, ttft - record.waited_seconds) if ttft is not None and record.asked.stream else None,
        ttft,
        outcome.duration_seconds,
        outcome.usage.prompt_tokens,
        outcome.usage.cached_tokens,
        outcome.usage.completion_tokens,
    )


def _regret(record: Record) -> Regret | None:
    if not len(record.hindsight):
        return None
    where = record.endpoints[0]
    picked = next(row for row, index in enumerate(record.shown) if record.candidates[index] is where)
    least = record.hindsight.argmin()
    best = (
        picked
        if record.hindsight[picked] <= record.hindsight[least]
        else int(least)
    )  # fmt: skip
    seconds = float(record.hindsight[picked] - record.hindsight[best])
    return Regret(seconds, record.candidates[record.shown[best]].hostport)
