"""Whether requests took no longer than they were to: a ledger listener that judges each end by its objective. Names are `docs/slo.md`.

What is kept is bounded: so many objectives and models, a few hundred counts each. What burns how fast is `burning`, where time went `stages`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client.core import Metric

from igw.config.slo import Slo
from igw.decision import Decision
from igw.errors import ClientLeft, Rejected
from igw.outcomes.burning import WINDOWS, Burning, burn_rate
from igw.outcomes.outcome import End, Outcome
from igw.outcomes.stages import before_first_byte, whole
from igw.request import Request
from igw.telemetry.exposition import Gauge
from igw.telemetry.families import Families
from igw.telemetry.labels import RequestLabels
from igw.telemetry.recording import Count

_MOST_TRACKED = 300
_TOO_MANY = 429
_LONGEST = max(WINDOWS, key=WINDOWS.__getitem__)
_VIOLATED_BY = "slo-attainment"
"""What stands where upstream names its predictor."""
_NO_SLO = Slo()
_KINDS = ("ttft", "tpot", "e2e")
Key = tuple[str, str, str]
"""Pool, objective, model."""


class Burnt(msgspec.Struct, frozen=True):
    """One window."""

    attained: int
    missed: int
    """Requests that failed among them."""
    burn_rate: float | None
    """How many times too fast the budget burns; None: nothing happened."""


class Attained(msgspec.Struct, frozen=True):
    """One line of `/debug/slo`."""

    pool: str
    objective: str
    """Name of the InferenceObjective; empty: requests without one, by their pool or their headers."""
    model: str
    of: str
    """`ttft`, `tpot` or `e2e`."""
    objective_seconds: float
    """That of the last request: headers may say what they like."""
    target: float
    requests: Mapping[str, int]
    """Since the start, by result."""
    windows: Mapping[str, Burnt]
    budget_left: float | None
    """Of what the longest window allows to miss, as a share; below 0 it is overdrawn."""
    missed_seconds: Mapping[str, float]
    """Time of requests that missed, by where it went."""


class _Track:
    """What is kept of one objective of one model."""

    __slots__ = ("_families", "_key", "burning", "missed", "ratio", "results", "seconds", "share")

    def __init__(self, key: tuple[str, ...], families: Families, now: float) -> None:
        self._families = families
        self._key = key
        self.ratio = families.slo_actual_to_objective.labels(*key)
        self.results: dict[str, Count] = {}
        self.missed: dict[str, Count] = {}
        """Seconds by stage."""
        self.burning = Burning(now)
        self.share = self.seconds = 0.0

    def count(self, result: str, now: float) -> None:
        """Count one request."""
        series = self.results.get(result)
        if series is None:
            series = self.results[result] = self._families.slo_requests_total.labels(*self._key, result)
        series.value += 1
        if result != "unknown":
            self.burning.add(now, good=result == "attained")

    def blame(self, stages: Mapping[str, float]) -> None:
        """Note where the time of a request went that missed."""
        for stage, seconds in stages.items():
            if seconds:
                series = self.missed.get(stage)
                if series is None:
                    missed = self._families.slo_missed_seconds_total
                    series = self.missed[stage] = missed.labels(*self._key, stage)
                series.value += seconds


class Attainment:
    """Judges requests. *asked* reads a request's headers, for those that were refused before anybody did."""

    def __init__(
        self, families: Families, clock: Callable[[], float], asked: Callable[[Request], Request]
    ) -> None:
        self._families = families
        self._labels: RequestLabels = families.request_labels
        self._labels.listen(self._forget)
        self._clock = clock
        self._asked = asked
        self._slos: Mapping[str, Mapping[str, Slo]] = {}
        self._only = ""
        self._tracks: OrderedDict[Key, dict[str, _Track]] = (
            OrderedDict()
        )  # the one that was used last at the end

    def use(self, slos: Mapping[str, Mapping[str, Slo]], pools: Iterable[str]) -> None:
        """Judge by *slos* from now on: pool (`namespace/name`) -> name of the objective -> what it says."""
        named = list(pools)
        self._slos, self._only = slos, named[0] if len(named) == 1 else ""

    # Told of ----------------------------------------------------------------------------------------------------

    def __call__(self, decision: Decision, outcome: Outcome) -> None:
        """Judge an end (ledger listener)."""
        key, slo = self._slo(decision.request)
        failed = _failed(outcome)
        if slo is _NO_SLO or failed is None:
            return
        now = self._clock()
        tracks = self._tracks_of(key, slo, now)
        for of, wanted in _wanted(slo):
            track = tracks[of]
            if failed and _shows(of, decision.request):
                track.count("failed", now)
                continue
            took = _took(of, decision, outcome, now)
            # A client that left before it was late may have left for any reason.
            if took is None or (outcome.end is End.ABORTED and took <= wanted and not _seen(of, outcome)):
                track.count("unknown", now)
            elif took <= wanted:
                track.ratio.observe(took / wanted)
                track.count("attained", now)
            else:
                track.ratio.observe(took / wanted)
                track.count("missed", now)
                self._blame(track, of, decision, outcome)

    def refused(self, request: Request | None, rejected: Rejected) -> None:
        """Judge a request that got an error of ours: what is nobody's fault but its client's does not count."""
        ours = rejected.status >= 500 or rejected.status == _TOO_MANY
        if request is None or not ours or isinstance(rejected, ClientLeft):
            return
        request = self._asked(request)
        key, slo = self._slo(request)
        if slo is _NO_SLO:
            return
        now = self._clock()
        tracks = self._tracks_of(key, slo, now)
        for of, _ in _wanted(slo):
            if _shows(of, request):
                tracks[of].count("failed", now)

    def _blame(self, track: _Track, of: str, decision: Decision, outcome: Outcome) -> None:
        if of == "tpot":
            track.blame({"decode": (outcome.duration_seconds or 0.0) - (outcome.ttft_seconds or 0.0)})
        else:
            track.blame((before_first_byte if of == "ttft" else whole)(decision, outcome))
        violation = self._families.request_slo_violation_total
        violation.labels(_VIOLATED_BY, _VIOLATED_BY, *self._labels.pair(decision.request), of).inc()

    # What applies -----------------------------------------------------------------------------------------------

    def _slo(self, request: Request) -> tuple[Key, Slo]:
        """Return whose it is, and what is wanted of *request*."""
        pool = request.head.pool or self._only
        named = self._slos.get(pool)
        objective = request.objective if named is not None and request.objective in named else ""
        slo = named[objective] if named is not None else _NO_SLO
        ttft, tpot = request.ttft_objective_seconds, request.tpot_objective_seconds
        if ttft or tpot or request.e2e_objective_seconds:
            slo = Slo(ttft, tpot, request.e2e_objective_seconds).over(slo)
        return (pool, objective, self._labels.pair(request)[0] if slo is not _NO_SLO else ""), slo

    def _tracks_of(self, key: Key, slo: Slo, now: float) -> Mapping[str, _Track]:
        tracks = self._tracks.get(key)
        if tracks is None:
            tracks = self._tracks[key] = {}
            if len(self._tracks) > _MOST_TRACKED:
                self._tracks.popitem(last=False)
        else:
            self._tracks.move_to_end(key)
        for of, wanted in _wanted(slo):
            track = tracks.get(of)
            if track is None:
                track = tracks[of] = _Track((*key, of), self._families, now)
            track.share, track.seconds = slo.share, wanted
        return tracks

    def _forget(self, values: Mapping[str, str]) -> None:
        """Let go of what is kept of a model that has no name of its own any more."""
        if values.keys() == {"model_name"}:
            for key in [key for key in self._tracks if key[2] == values["model_name"]]:
                del self._tracks[key]

    # Asked for --------------------------------------------------------------------------------------------------

    def page(self) -> list[Attained]:
        """Return how every objective does, those that burn fastest within the last five minutes first."""
        now = self._clock()
        lines = [_line(key, of, track, now) for key, of, track in self._used()]
        return sorted(lines, key=lambda line: -(line.windows["5m"].burn_rate or 0.0))

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges as they are now."""
        by = ("inference_pool", "objective", "model_name", "of")
        target = Gauge("igw_slo_target_ratio", "Share of requests that is to attain the objective.", by)
        burning = Gauge(
            "igw_slo_burn_rate", "How many times too fast the error budget burns, by window.", (*by, "window")
        )
        left = Gauge(
            "igw_slo_budget_left_ratio", "Of the error budget of the last six hours, what is left.", by
        )
        now = self._clock()
        for key, of, track in self._used():
            labels, line = (*key, of), _line(key, of, track, now)
            target.add(labels, track.share)
            for window, burnt in line.windows.items():
                if burnt.burn_rate is not None:
                    burning.add((*labels, window), burnt.burn_rate)
            if line.budget_left is not None:
                left.add(labels, line.budget_left)
        yield from (target.metric, burning.metric, left.metric)

    def _used(self) -> Iterator[tuple[Key, str, _Track]]:
        for key, tracks in self._tracks.items():
            for of, track in tracks.items():
                yield key, of, track


def _wanted(slo: Slo) -> list[tuple[str, float]]:
    wanted = zip(_KINDS, (slo.ttft_seconds, slo.tpot_seconds, slo.e2e_seconds), strict=True)
    return [(of, seconds) for of, seconds in wanted if seconds is not None]


def _shows(of: str, request: Request) -> bool:
    """Return whether that can be seen of such a request at all: an answer in one piece shows no tokens."""
    return of == "e2e" or request.stream


def _seen(of: str, outcome: Outcome) -> bool:
    """Return whether that happened, and when."""
    return of == "ttft" and outcome.ttft_seconds is not None


def _failed(outcome: Outcome) -> bool | None:
    """Return whether a request failed by our fault or a server's; None: by its client's, and it counts nowhere."""
    if outcome.end is End.FAILED or outcome.status >= 500 or outcome.status == _TOO_MANY:
        return True
    return None if outcome.status >= 400 else False


def _took(of: str, decision: Decision, outcome: Outcome, now: float) -> float | None:
    """Return how long that took, in seconds; at least, where a client left. None: nobody saw."""
    first, duration, tokens = outcome.ttft_seconds, outcome.duration_seconds, outcome.usage.completion_tokens
    if not _shows(of, decision.request) or outcome.end is End.UNKNOWN:
        return None
    if of == "ttft" and first is not None:
        return first
    if of == "tpot":
        whole = outcome.end is End.COMPLETE and duration is not None and first is not None
        return (duration - first) / (tokens - 1) if whole and tokens and tokens > 1 else None  # type: ignore[operator]
    if outcome.end is End.ABORTED:
        return now - decision.decided_at + decision.waited_seconds
    return duration if of == "e2e" else None


def _line(key: Key, of: str, track: _Track, now: float) -> Attained:
    counts = track.burning.counts(now)
    windows = {
        name: Burnt(good, bad, burn_rate(good, bad, track.share)) for name, (good, bad) in counts.items()
    }
    longest = windows[_LONGEST].burn_rate
    return Attained(
        *key,
        of,
        objective_seconds=track.seconds,
        target=track.share,
        requests={result: int(series.value) for result, series in track.results.items()},
        windows=windows,
        budget_left=None if longest is None else 1.0 - longest,
        missed_seconds={stage: series.value for stage, series in track.missed.items()},
    )
