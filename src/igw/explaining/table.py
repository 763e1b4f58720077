"""Explanations on a terminal: the sentence, then what it was made from. What they say is `explanation`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from igw.explaining.explanation import Candidate, Explanation, Line
from igw.explaining.sentences import seconds

_LEAST_SECONDS = 5e-4
"""Terms that are less everywhere are not shown."""
_MOST_TERMS = 6
_MOST_ENDPOINTS = 6
_BEGINNING = 8


def explanation(found: Explanation) -> RenderableType:
    """Return *found* as a person reads it."""
    parts: list[RenderableType] = [Text(found.sentence, style="bold"), ""]
    if found.candidates:
        parts += [_candidates(found), ""]
    parts += [Text(each) for each in _lines(found)]
    return Group(*parts)


def lines(found: Iterable[Line], now: float) -> RenderableType:
    """Return a list of decisions, with beginnings of ids that are enough to ask by; *now* in seconds since 1970."""
    table = _table("ago", "id", "x-request-id", "status", "")
    for each in found:
        ago, status = seconds(max(0.0, now - each.at)), str(each.status or "")
        why = each.sentence.partition(";")[0].rstrip(".")
        table.add_row(*map(escape, (ago, each.id, each.request_id[:_BEGINNING], status, why)))
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=head != "")
    return table


def _candidates(found: Explanation) -> Table:
    scorers = list(dict.fromkeys(name for each in found.candidates for name in each.scores))
    terms = _terms(found.candidates)
    priced = any(each.cost_seconds is not None for each in found.candidates)
    looked_back = any(each.hindsight_seconds is not None for each in found.candidates)
    heads = [
        "",
        "endpoint",
        *(["adds"] if priced else []),
        *terms,
        *(["in hindsight"] if looked_back else []),
    ]
    table = _table(
        *heads, *(scorers if len(scorers) > 1 else []), *(["score"] if scorers else []), "cached", ""
    )
    for each in found.candidates:
        cells = [_rank(each), each.name]
        cells += [_seconds(each.cost_seconds)] if priced else []
        cells += [_seconds(each.costs.get(term)) for term in terms]
        cells += [_seconds(each.hindsight_seconds)] if looked_back else []
        cells += [_score(each.scores.get(name)) for name in scorers] if len(scorers) > 1 else []
        cells += [_score(each.score)] if scorers else []
        cells += [f"{each.matched_tokens:,} {each.matched_by}".strip()]
        cells += [f"left out by {each.left_out_by}" if each.left_out_by else ""]
        table.add_row(*map(escape, cells), style="bold" if each.rank == 0 else None)
    return table


def _terms(candidates: Sequence[Candidate]) -> list[str]:
    """Return the terms that say something, those that differ most first."""
    names = dict.fromkeys(name for each in candidates for name in each.costs)
    columns = {name: [each.costs.get(name, 0.0) for each in candidates] for name in names}
    told = [name for name in names if max(columns[name]) >= _LEAST_SECONDS]
    told.sort(key=lambda name: max(columns[name]) - min(columns[name]), reverse=True)
    return told[:_MOST_TERMS]


def _rank(candidate: Candidate) -> str:
    if candidate.rank is None:
        return ""
    return "picked" if candidate.rank == 0 else f"retry {candidate.rank}"


def _seconds(value: float | None) -> str:
    return "" if value is None else "-" if abs(value) < _LEAST_SECONDS else seconds(value)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _lines(found: Explanation) -> Iterable[str]:
    if found.candidates_total > len(found.candidates):
        yield f"{len(found.candidates)} of {found.candidates_total:,} candidates are kept, the best among them."
    for name in _terms(found.candidates):
        yield f"{name}: {found.terms.get(name, name)}"
    for gone in found.left_out:
        named = ", ".join(gone.endpoints[:_MOST_ENDPOINTS]) + (
            ", ..." if gone.count > _MOST_ENDPOINTS else ""
        )
        why = f": {gone.why}" if gone.why else ""
        yield f"left out by {gone.by}, {gone.count:,} ({named}){why}"
    for profile, picks in found.other_profiles.items():
        yield f"profile {profile}: {', '.join(picks) or 'its filters left nobody'}"
    yield from _went(found)
    if found.regret is not None:
        where = (
            "it was the best" if found.regret.best == found.endpoint else f"{found.regret.best} was better"
        )
        yield f"in hindsight {where}, by {seconds(found.regret.seconds)}"
    yield _who(found)


def _went(found: Explanation) -> Iterable[str]:
    predicted, actual = found.predicted, found.actual
    if predicted is None:
        return
    rows = [("time to first token", predicted.ttft_seconds, actual.ttft_seconds if actual else None)]
    for name, expected, real in rows:
        if expected is not None:
            yield f"{name}: {seconds(expected)} predicted, {seconds(real) if real is not None else 'not known yet' if actual is None else 'not told'}"
    cached = f"cached tokens: {predicted.cached_tokens:,} predicted"
    if predicted.fetched_tokens:
        cached += f", {predicted.fetched_tokens:,} to be fetched from {predicted.fetched_from}"
    if actual is not None and actual.cached_tokens is not None:
        cached += f", {actual.cached_tokens:,} found"
    yield cached
    if actual is not None:
        took = f" after {seconds(actual.duration_seconds)}" if actual.duration_seconds is not None else ""
        yield f"{actual.end}{took}, status {actual.status}, served by {actual.served_by}"


def _who(found: Explanation) -> str:
    asked = found.asked
    parts = [f"decision {found.id}"]
    parts += [f"x-request-id {asked.request_id}"] if asked.request_id else []
    parts += [f"pool {asked.pool}"] if asked.pool else []
    parts += [f"model {asked.model}"] if asked.model else []
    if asked.served_model != asked.model:
        by, rule = asked.rewritten_by or ("", 0)
        parts.append(f"served as {asked.served_model}" + (f" by rule {rule} of {by}" if by else ""))
    parts += [f"priority {asked.priority}"] if asked.priority else []
    parts += [f"tenant {asked.fairness_id}"] if asked.fairness_id else []
    parts += [f"objective {asked.objective}"] if asked.objective else []
    return ", ".join(parts)
