"""How many requests ended lately, and how long they took: counts by the second, in bounded memory. Pure; how a second looks is `overview`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igw.dashboard.overview import Quantiles, Seconds, Traffic
from igw.decision import Decision
from igw.outcomes.outcome import End, Outcome

KEPT_SECONDS = 120
RATES_SECONDS = 10
QUANTILES_SECONDS = 60
_MOST_TIMES = 256
"""Times of one kind that are kept of one second, the first of them: enough for quantiles over a minute."""


class _Second:
    """What ended within one second."""

    __slots__ = (
        "cached",
        "completion",
        "e2e",
        "ended",
        "failed",
        "prompt",
        "refused",
        "tpot",
        "ttft",
        "ttft_quantiles",
    )

    def __init__(self) -> None:
        self.ended = self.failed = self.refused = 0
        self.prompt = self.cached = self.completion = 0
        self.ttft: list[float] = []
        self.tpot: list[float] = []
        self.e2e: list[float] = []
        self.ttft_quantiles: Quantiles | None = None
        """Worked out once, when the second is over."""


_NOTHING = _Second()
_NOTHING.ttft_quantiles = Quantiles()


class Recent:
    """Owner of the counts. Times are those of *clock* and may not go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: dict[int, _Second] = {}  # by number, the oldest first
        self.changes = 0
        """Ends and refusals so far."""

    def ended(self, decision: Decision, outcome: Outcome) -> None:
        """Count an end (ledger listener)."""
        second = self._now()
        self.changes += 1
        second.ended += 1
        second.failed += outcome.end is End.FAILED or outcome.status >= 400
        usage = outcome.usage
        second.prompt += usage.prompt_tokens or 0
        second.cached += usage.cached_tokens or 0
        second.completion += usage.completion_tokens or 0
        if outcome.end is not End.COMPLETE or outcome.status >= 400:
            return
        if outcome.duration_seconds is not None and len(second.e2e) < _MOST_TIMES:
            second.e2e.append(outcome.duration_seconds)
        if decision.request.stream and outcome.ttft_seconds is not None and len(second.ttft) < _MOST_TIMES:
            second.ttft.append(outcome.ttft_seconds)
            if outcome.tpot_seconds is not None:
                second.tpot.append(outcome.tpot_seconds)

    def refused(self) -> None:
        """Count a request that got an error of the picker's."""
        self.changes += 1
        self._now().refused += 1

    def traffic(self) -> Traffic:
        """Return what the last two minutes were like."""
        number = int(self._clock())
        seconds = [self._seconds.get(each, _NOTHING) for each in range(number - KEPT_SECONDS, number)]
        rates, lately = seconds[-RATES_SECONDS:], seconds[-QUANTILES_SECONDS:]
        prompt = sum(each.prompt for each in lately)
        return Traffic(
            sum(each.ended for each in rates) / RATES_SECONDS,
            sum(each.failed for each in rates) / RATES_SECONDS,
            sum(each.refused for each in rates) / RATES_SECONDS,
            sum(each.prompt for each in rates) / RATES_SECONDS,
            sum(each.completion for each in rates) / RATES_SECONDS,
            sum(each.cached for each in lately) / prompt if prompt else None,
            quantiles([time for each in lately for time in each.ttft]),
            quantiles([time for each in lately for time in each.tpot]),
            quantiles([time for each in lately for time in each.e2e]),
            _columns(seconds),
        )

    def _now(self) -> _Second:
        number = int(self._clock())
        second = self._seconds.get(number)
        if second is None:
            for old in [each for each in self._seconds if each < number - KEPT_SECONDS]:
                del self._seconds[old]
            second = self._seconds[number] = _Second()
        return second


def quantiles(times: Sequence[float]) -> Quantiles:
    """Return the quantiles of *times*, each of them one that really was."""
    if not times:
        return Quantiles()
    ranked = sorted(times)
    last = len(ranked) - 1
    return Quantiles(*(ranked[round(share * last)] for share in (0.5, 0.95, 0.99)))


def _columns(seconds: Sequence[_Second]) -> Seconds:
    ttft = []
    for each in seconds:
        if each.ttft_quantiles is None:
            each.ttft_quantiles = quantiles(each.ttft)
        ttft.append(each.ttft_quantiles)
    return Seconds(
        [each.ended for each in seconds],
        [each.failed for each in seconds],
        [each.refused for each in seconds],
        [each.prompt for each in seconds],
        [each.cached for each in seconds],
        [each.completion for each in seconds],
        [each.p50 for each in ttft],
        [each.p95 for each in ttft],
    )
