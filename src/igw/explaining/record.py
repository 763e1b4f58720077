"""One decision as it is kept: references to what the pick was made from, and nothing of the prompt. What is made of it is `explanation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.decision import Decision, Fetched
from igw.endpoint import Endpoint, Pool
from igw.facts import Column
from igw.outcomes.ledger import REQUEST_ID
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.routing.claims import Claim, View
from igw.scheduling.scheduler import Choice

Names: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]

FEW = 128
"""Pools of so many candidates are kept whole; of larger ones `KEPT` and a few."""
KEPT = 16
_LONGEST_NAME = 200
"""Of names that clients choose, in characters."""
_BASE_BYTES = 2_000
"""A record without its numbers, with its outcome and its places in tables."""
_INDEX_BYTES = 40
_DOUBLE = 8
_NOBODY: tuple[Endpoint, ...] = ()
_NOTHING: Mapping[str, Any] = {}
_NONE: Column = np.zeros(0)
_NO_ROWS: NDArray[np.float64] = np.zeros((0, 0))
_NO_NAMES: NDArray[np.str_] = np.zeros(0, dtype=np.str_)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What was asked for, without a word of it."""

    request_id: str = ""
    """`x-request-id`; a client may choose it."""
    pool: str = ""
    """`namespace/name`."""
    api: str = ""
    """Last segments of its path; empty for bodies that we do not read."""
    model: str = ""
    """As the client wrote it."""
    served_model: str = ""
    """As the model server was asked for it."""
    rewritten_by: tuple[str, int] | None = None
    """`namespace/name` of the InferenceModelRewrite and the number of its rule that said so."""
    stream: bool = False
    prompt_tokens: int = 0
    """An estimate: four bytes each."""
    body_bytes: int = 0
    priority: int = 0
    fairness_id: str = ""
    objective: str = ""


class Absent(msgspec.Struct, frozen=True, gc=False):
    """What was so of the endpoints of a pool when some of them were no candidates. Shape of masks: [endpoints of the pool]."""

    pool: Pool
    failing: NDArray[np.bool_]
    ejected: NDArray[np.bool_]
    """Whether an ejection had not ended, or had so lately that not all requests may go there."""
    subset: tuple[str, ...] | None
    """Those that the gateway allowed; None: all."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a request went nowhere."""

    status: int
    code: str
    reason: str
    """As in the answer's header `x-llm-d-request-dropped-reason`."""
    message: str
    queue_outcome: str = ""
    """Upstream's name; empty if it did not wait."""
    waiting: int = 0
    """Others that waited in the queue of its pool then."""
    left_out: Mapping[str, Sequence[str]] = _NOTHING
    """By name of the filter: `ip:port` of those that it left out."""


class Seen(msgspec.Struct, frozen=True):
    """What was seen of candidates. Shape of columns: [shown]."""

    scores: Mapping[str, Column]
    """Weighted, by name of the scorer; NaN for those that were left out."""
    costs: Mapping[str, Column]
    """In seconds, by term; empty where nobody asked for them."""
    cost: Column
    """Their sum."""
    matches: Column
    """Tokens of the prompt believed cached."""


class Record(msgspec.Struct, gc=False):
    """One decision. Written once more, when it has ended. Without garbage collection: it never leads back to itself."""

    id: int
    """Of the decision; below 0 for a request that got none."""
    asked: Asked
    decided_at: float
    """Seconds on the picker's monotonic clock."""
    waited_seconds: float
    size_bytes: int
    endpoints: tuple[Endpoint, ...] = _NOBODY
    """The picked one, then where the gateway retries."""
    candidates: tuple[Endpoint, ...] = _NOBODY
    """All of them: what `left_out` counts by."""
    shown: Sequence[int] = ()
    """Which of them the numbers are of."""
    names: Names = ((), ())
    """Of the scorers, and of the terms of the cost: what the first rows of `numbers` are."""
    numbers: bytes = b""
    """Scores, costs and matches, as doubles. Shape: [names and one, shown]. In one piece: what is kept must not cost more than the pick."""
    matches_by: NDArray[np.str_] = _NO_NAMES
    """By what matches are known; empty: all are approximate."""
    expected_ttft_seconds: float = 0.0
    expected_output_tokens: float = 0.0
    fetch: Fetched | None = None
    scheduler: Any = None
    """What decided: its profiles with their weights, and its plugins."""
    profile: str = ""
    """The one whose pick it is."""
    others: Mapping[str, Sequence[str]] = _NOTHING
    """What other profiles picked, as `ip:port`, by name; none for one whose filters left nobody."""
    left_out: Mapping[str, Sequence[int]] = _NOTHING
    """Indices of `candidates`, by name of the filter."""
    absent: Absent | None = None
    """Set where some of the pool's endpoints were no candidates."""
    ahead: tuple[tuple[Record, ...], ...] = ()
    """By candidate shown, what it had in flight; only of those whose regret is to be told, and only until then."""
    outcome: Outcome | None = None
    ended_at: float = 0.0
    """On the picker's monotonic clock; 0: it has not ended."""
    hindsight: Column = _NONE
    """What each would have cost by what was known in the end, in seconds; empty where that was not worked out."""
    refusal: Refusal | None = None

    def seen(self) -> Seen:
        """Return what was seen of the candidates that are shown."""
        scorers, terms = self.names
        rows = np.frombuffer(self.numbers).reshape(-1, len(self.shown)) if self.numbers else _NO_ROWS
        last = len(scorers) + len(terms)
        return Seen(
            dict(zip(scorers, rows, strict=False)),
            dict(zip(terms, rows[len(scorers) :], strict=False)),
            np.add.reduce(rows[len(scorers) : last]) if terms else _NONE,
            rows[last] if self.numbers else _NONE,
        )


def picked(claim: Claim, view: View, choice: Choice, decision: Decision, scheduler: Any) -> Record:
    """Return the record of *decision*: all candidates of a small pool, some of the best of a large one."""
    facts, candidates, columns = view.facts, view.endpoints, claim.columns
    scores, costs, matches_by = choice.scores, facts.costs, facts.matched_by
    count = len(candidates)
    seen = [*scores.values(), *costs.values(), facts.matched_tokens]
    shown: Sequence[int] = range(count)
    if count > FEW:
        rows = best(choice, facts.matched_tokens)
        shown = rows.tolist()
        seen = [column[rows] for column in seen]
        matches_by = matches_by[rows] if len(matches_by) else matches_by
    numbers = b"".join(seen)  # type: ignore[arg-type]  # each is a buffer of doubles
    if len(numbers) != _DOUBLE * len(seen) * len(shown):  # but for a plugin's that are not
        numbers = np.concatenate(seen).tobytes()
    profile, others = "", _NOTHING
    if len(choice.profiles) == 1:
        (profile,) = choice.profiles
    elif choice.profiles:
        profile, others = _profiles(choice, candidates)
    size = _BASE_BYTES + len(numbers) + matches_by.nbytes
    left_out = choice.left_out or _NOTHING
    if left_out:
        size += _INDEX_BYTES * sum([len(indices) for indices in left_out.values()])
    absent = None
    if candidates is not columns.pool.endpoints:
        ejected = columns.shares(facts.now) < 1.0
        absent = Absent(columns.pool, columns.failing.copy(), ejected, decision.request.head.subset)
        size += 2 * len(ejected) + 8 * count
    output = view.prospect.work.output_tokens if view.prospect is not None else 0.0
    return Record(
        decision.id, asked(decision.request, columns.pool.key), decision.decided_at, decision.waited_seconds, size,
        decision.endpoints, candidates, shown, (tuple(scores), tuple(costs)), numbers, matches_by,
        decision.expected_ttft_seconds, output, decision.fetch, scheduler, profile, others, left_out, absent,
    )  # fmt: skip


def refused(number: int, request: Asked, at: float, waited_seconds: float, refusal: Refusal) -> Record:
    """Return the record of a request that got no decision."""
    names = sum([len(each) for each in refusal.left_out.values()])
    return Record(number, request, at, waited_seconds, _BASE_BYTES + 8 * names, refusal=refusal)


def asked(request: Request, pool: str) -> Asked:
    """Return what *request* was. Whatever names clients choose are kept short."""
    return Asked(
        request.head.headers.get(REQUEST_ID, "")[:_LONGEST_NAME],
        pool,
        request.api,
        request.model[:_LONGEST_NAME],
        (request.target_model or request.model)[:_LONGEST_NAME],
        request.rewritten_by,
        request.stream,
        request.prompt_tokens,
        request.body_bytes,
        request.priority,
        request.fairness_id[:_LONGEST_NAME],
        request.objective[:_LONGEST_NAME],
    )


def best(choice: Choice, matches: Column) -> NDArray[np.intp]:
    """Return which candidates of many are kept: those that were picked, the next best, where most was cached, and the best of each of `KEPT` parts.

    A pass for each; to find the best few exactly takes several times as long.
    """
    wanted = {*choice.picked, int(matches.argmax())}
    step = len(matches) // KEPT
    if not choice.scores:
        wanted.update(range(0, len(matches), step))
        return np.array(sorted(wanted), dtype=np.intp)
    columns = list(choice.scores.values())
    totals = columns[0].copy() if len(columns) == 1 else np.add.reduce(columns)
    if choice.left_out:
        totals[np.isnan(totals)] = -np.inf
    parts = totals[: step * KEPT].reshape(KEPT, step).argmax(axis=1).tolist()
    wanted.update([part * step + at for part, at in enumerate(parts)])
    totals[choice.picked[0]] = -np.inf
    wanted.add(int(totals.argmax()))
    return np.array(sorted(wanted), dtype=np.intp)


def _profiles(choice: Choice, candidates: Sequence[Endpoint]) -> tuple[str, Mapping[str, Sequence[str]]]:
    primary, others = "", {}
    for name, ranking in choice.profiles.items():
        if ranking is not None and ranking.scores is choice.scores and ranking.picked is choice.picked:
            primary = name
        else:
            others[name] = [] if ranking is None else [candidates[index].hostport for index in ranking.picked]
    return primary, others
