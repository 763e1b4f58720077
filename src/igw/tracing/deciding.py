"""Notes when a request that has a trace is looked at, chosen for and reserved for, and what profiles and plugins did: wrappers, put on when a picker is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from igw.columns import Columns
from igw.decision import Decision
from igw.facts import Facts
from igw.flow.saturation import Detector
from igw.request import Request
from igw.routing.claims import Claim, View
from igw.routing.producing import Waited
from igw.routing.router import Router
from igw.scheduling.api import Ranking
from igw.scheduling.observed import Observe, Series
from igw.scheduling.profile import Profile
from igw.scheduling.scheduler import Choice, Scheduler
from igw.tracing.spans import PROFILE
from igw.tracing.trace import Noted, Trace

_NAMES = {"Filter": "filter_endpoints", "Picker": "pick_endpoints", "DataProducer": "produce_facts"}
_SCORER = "llm_d.epp.scorer."


class Traces:
    """The traces of requests that have not ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.open: dict[int, Trace] = {}
        """Those without a decision, by the identity of the request's head: all that is made of a request has it."""
        self.running: dict[int, Trace] = {}
        """Those with one, by its id."""
        self.current: Trace | None = None
        """Whose candidates are looked at: nobody else's before that is done."""

    @contextmanager
    def at(self, trace: Trace) -> Iterator[list[float]]:
        """Have what plugins do within the block noted for *trace*; yield the instants of its begin and, afterwards, end."""
        instants, self.current = [self.clock()], trace
        try:
            yield instants
        finally:
            self.current = None
            instants.append(self.clock())


class TracedRouter(Router):
    """A router that notes what it does for requests that have a trace. Others meet it once."""

    def __init__(self, traces: Traces, *given: Any) -> None:
        super().__init__(*given)
        self._traces = traces

    def claim(self, request: Request, columns: Columns, waited: Waited | None = None) -> Claim:
        """Note that everybody has answered who is asked before there can be a pick; from then on its claim notes the rest."""
        claim = super().claim(request, columns, waited)
        trace = self._traces.open.get(id(request.head))
        if trace is None:
            return claim
        trace.claimed_at = claim.received_at
        return Claim(_Noted(self, self._traces, trace), claim.id, request, columns, waited, claim.received_at)


class _Noted:
    """A router as the claim of one request with a trace sees it."""

    def __init__(self, router: Router, traces: Traces, trace: Trace) -> None:
        self._router, self._traces, self._trace = router, traces, trace
        self.output_tokens = router.output_tokens

    @property
    def detector(self) -> Detector | None:
        """What tells how full candidates are."""
        return self._router.detector

    def look(
        self, request: Request, columns: Columns, waited: Waited | None, blocks: Sequence[int] | None
    ) -> View:
        """Note when; of several looks the last one counts."""
        with self._traces.at(self._trace) as instants:
            view = self._router.look(request, columns, waited, blocks)
        self._trace.gathered = instants[0], instants[1]
        return view

    def priced(self, request: Request, view: View) -> View:
        """Note when: it belongs to the look."""
        view = self._router.priced(request, view)
        if self._trace.gathered is not None:
            self._trace.gathered = self._trace.gathered[0], self._traces.clock()
        return view

    def choose(self, request: Request, facts: Facts) -> Choice:
        """Note when; of several choices the last one counts."""
        try:
            with self._traces.at(self._trace) as instants:
                return self._router.choose(request, facts)
        finally:
            self._trace.picked = instants[0], instants[1]

    def reserve(self, claim: Claim, view: View, choice: Choice) -> Decision:
        """Note the decision: its end may come before anybody hears of it."""
        self._traces.running[claim.id] = self._trace
        decision = self._router.reserve(claim, view, choice)
        if self._trace.picked is not None:
            self._trace.picked = self._trace.picked[0], self._traces.clock()
        return decision


class TracedProfile(Profile, frozen=True, kw_only=True):
    """A profile that notes when it ran, and for how many."""

    name: str
    traces: Any

    def run(self, request: Request, facts: Facts) -> Ranking:
        """Rank as the profile does."""
        trace: Trace | None = self.traces.current
        if trace is None:
            return super().run(request, facts)
        start, before = self.traces.clock(), len(facts.inflight)
        ranking = super().run(request, facts)
        said: dict[str, str | int] = {
            "llm_d.epp.scheduling.profile.name": self.name,
            "llm_d.epp.filter.candidate_endpoints": before,
            "llm_d.epp.filter.filtered_endpoints": before
            - sum(len(each) for each in ranking.left_out.values()),
        }
        trace.calls.append(Noted(PROFILE, (start, self.traces.clock()), said))
        return ranking


def traced(scheduler: Scheduler, traces: Traces) -> Scheduler:
    """Return *scheduler*, whose profiles are noted."""
    profiles = {
        name: TracedProfile(each.scorers, each.picker, each.filters, name=name, traces=traces)
        for name, each in scheduler.profiles.items()
    }
    return replace(scheduler, profiles=profiles)


def noting(series: Series, traces: Traces) -> Series:
    """Return *series*, whose measured calls of plugins are noted too."""

    def of(point: str, kind: str, name: str) -> Observe:
        observe = series(point, kind, name)
        called = f"{_SCORER}{kind}" if point == "Scorer" else _NAMES.get(point, point)
        said: dict[str, str | int] = {"igw.plugin.type": kind, "igw.plugin.name": name}

        def noted(seconds: float) -> None:
            observe(seconds)
            if traces.current is not None:
                now = traces.clock()
                traces.current.calls.append(Noted(called, (now - seconds, now), said))

        return noted

    return of
