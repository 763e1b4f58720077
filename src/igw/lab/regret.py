"""What a policy gave away against a bound: two runs of one workload with one seed, request by request. Figures of one run are `summary`.

A difference per request is not the fault of that one decision: decisions before it made the state that it met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from igw.lab.records import Fate, Record, Run


class Regret(msgspec.Struct, frozen=True):
    """Means over the requests that both runs completed, warm-up left out; NaN when there is none."""

    requests: int
    ttft_seconds: float
    """Policy minus bound."""
    e2e_seconds: float
    worse_share: float
    """Share of requests whose first token came later than with the bound."""
    ttft_ratio: float
    """Mean of the policy by mean of the bound."""
    e2e_ratio: float


def regret(policy: Run, bound: Run) -> Regret:
    """Return what *policy* gave away against *bound*.

    Raises:
        ValueError: the runs have different seeds, so that their requests are different ones.
    """
    if policy.seed != bound.seed:
        raise ValueError(
            f"{policy.policy} ran with seed {policy.seed} and {bound.policy} with seed {bound.seed}: regret compares equal requests"
        )
    pairs = list(paired(policy.records, bound.records))
    ttft, e2e = (sum(getattr(a, name) for a, _ in pairs) for name in ("ttft_seconds", "e2e_seconds"))
    bound_ttft, bound_e2e = (
        sum(getattr(b, name) for _, b in pairs) for name in ("ttft_seconds", "e2e_seconds")
    )
    count = len(pairs)
    return Regret(
        requests=count,
        ttft_seconds=achieved(ttft - bound_ttft, count),
        e2e_seconds=achieved(e2e - bound_e2e, count),
        worse_share=achieved(sum(a.ttft_seconds > b.ttft_seconds for a, b in pairs), count),
        ttft_ratio=achieved(ttft, bound_ttft),
        e2e_ratio=achieved(e2e, bound_e2e),
    )


def paired(policy: Iterable[Record], bound: Iterable[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield the two records of each request that both completed, warm-up left out.

    The n-th that a session completed is its n-th turn: a lost one is asked again, and a session that gives up is over.
    """
    others = dict(_numbered(bound))
    for key, record in _numbered(policy):
        other = others.get(key)
        if other is not None and not (record.warmup or other.warmup):
            yield record, other


def achieved(value: float, best: float) -> float:
    """Return the share of *best* that *value* is (goodput of a clairvoyant, hit ratio of an ideal cache); NaN when that is 0."""
    return value / best if best else math.nan


def _numbered(records: Iterable[Record]) -> Iterator[tuple[tuple[str, int], Record]]:
    turns: dict[str, int] = {}
    for record in sorted(records, key=lambda record: record.arrived):
        if record.fate is Fate.COMPLETE:
            turn = turns[record.session] = turns.get(record.session, -1) + 1
            yield (record.session, turn), record
