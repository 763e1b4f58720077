"""Measures routing from outside: a timed `route`, and gauges read from columns whenever the metrics page is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric

from igw.columns import Columns
from igw.decision import Decision
from igw.errors import Rejected
from igw.flow.api import Dispatched, Item
from igw.outcomes.ledger import Ledger
from igw.outcomes.observed import RequestMetrics
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.claims import Claim
from igw.routing.pools import Pools
from igw.routing.router import Queue
from igw.telemetry import recording
from igw.telemetry.families import Bounded, Families

Route = Callable[[Request], Awaitable[Decision]]
_MOST_SERIES = 2_000
"""Combinations of tenant, priority and model of a queue whose series is at hand."""


def observed(route: Route, families: Families, requests: RequestMetrics, clock: Callable[[], float]) -> Route:
    """Return *route*, timed and counted."""
    seconds = families.scheduler_e2e_duration_seconds
    attempts = families.scheduler_attempts_total
    rewrites = families.model_rewrite_decisions_total
    models, names = Bounded(), Bounded(10_000)

    async def timed(request: Request) -> Decision:
        start = clock()
        try:
            decision = await route(request)
        except Rejected:
            attempts.labels("failure", models[request.served_model], "", "", "").inc()
            raise
        seconds.observe(clock() - start - decision.waited_seconds)
        endpoint, request = decision.endpoint, decision.request
        target = models[request.served_model]
        attempts.labels("success", target, names[endpoint.name], endpoint.namespace, endpoint.port).inc()
        if request.rewritten_by or request.target_model:
            by, rule = request.rewritten_by or ("", "")
            rewrites.labels(names[by], rule, models[request.model], target).inc()
        requests.decided(decision)
        return decision

    return timed


class ObservedQueue:
    """A queue that says how long requests have waited there, and how that ended."""

    def __init__(self, queue: Queue, pool: str, families: Families, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._pool = pool
        self._seconds = families.flow_control_request_queue_duration_seconds
        self._clock = clock
        self._names, self._models = Bounded(), Bounded()
        self._dispatched: dict[tuple[str, int, str, str], recording.Tally] = {}

    async def place(self, item: Item, claim: Claim, /) -> Dispatched:
        """Return once *item* has its place."""
        outcome, start = "EvictedOther", self._clock()
        try:
            placed = await self._queue.place(item, claim)
        except asyncio.CancelledError:
            outcome = "EvictedContextCancelled"
            raise
        except Rejected as rejected:
            outcome = rejected.queue_outcome or outcome
            raise
        else:
            outcome = "Dispatched"
            key = (item.flow, item.priority, claim.request.model, claim.request.served_model)
            series = self._dispatched.get(key)
            if series is None:
                series = self._series(item, claim, outcome)
                if len(self._dispatched) < _MOST_SERIES:
                    self._dispatched[key] = series
            series.observe(placed.waited_seconds)
            return placed
        finally:
            if outcome != "Dispatched":
                self._series(item, claim, outcome).observe(self._clock() - start)

    def _series(self, item: Item, claim: Claim, outcome: str) -> recording.Tally:
        names, models, request = self._names, self._models, claim.request
        return self._seconds.labels(
            names[item.flow],
            str(item.priority),
            outcome,
            self._pool,
            models[request.model],
            models[request.served_model],
        )


class State:
    """Gauges of pools, index and ledger."""

    def __init__(self, pools: Pools, prefix: PrefixIndex, ledger: Ledger) -> None:
        self._pools = pools
        self._prefix = prefix
        self._ledger = ledger

    def collect(self) -> Iterable[Metric]:
        """Yield every gauge as it is now."""
        yield from self._of_pools()
        yield from self._of_work()
        yield from self._of_requests()
        size = GaugeMetricFamily(
            "llm_d_epp_prefix_indexer_size",
            "Blocks in the prefix index.",
            labels=("plugin_name", "plugin_type"),
        )
        name = "approx-prefix-cache-producer"
        size.add_metric((name, name), self._prefix.statistics().blocks)
        yield size

    def _of_pools(self) -> Iterable[Metric]:
        named = self._named()
        ready = GaugeMetricFamily("llm_d_epp_ready_endpoints", "Endpoints that answer.", labels=("name",))
        for name, each in named:
            ready.add_metric((name,), float((each.reported & ~each.failing).sum()))
        yield ready
        filled = [(name, each) for name, each in named if len(each.pool)]
        for family, text, value in _POOL_GAUGES:
            gauge = GaugeMetricFamily(f"llm_d_epp_{family}", text, labels=("name",))
            for name, each in filled:
                gauge.add_metric((name,), value(each))
            yield gauge
        queue = GaugeMetricFamily(
            "llm_d_epp_per_endpoint_queue_size",
            "Requests waiting in an engine.",
            labels=("name", "model_server_endpoint"),
        )
        inflight = GaugeMetricFamily(
            "igw_inflight_requests",
            "Requests of this picker in flight at an endpoint.",
            labels=("name", "endpoint"),
        )
        for name, each in filled:
            for row, endpoint in enumerate(each.pool.endpoints):
                queue.add_metric((name, endpoint.name), float(each.waiting[row]))
                inflight.add_metric((name, endpoint.hostport), float(each.inflight[row]))
        yield queue
        yield inflight

    def _of_work(self) -> Iterable[Metric]:
        rates = GaugeMetricFamily(
            "igw_learned_seconds",
            "What work takes at an endpoint of factor 1, in seconds, by what it is.",
            labels=("name", "of"),
        )
        backlog = GaugeMetricFamily(
            "igw_backlog_seconds",
            "Prefill, and output other than text, promised to an endpoint and not done.",
            labels=("name", "endpoint"),
        )
        factors = GaugeMetricFamily(
            "igw_learned_factor",
            "How much longer an endpoint takes than its pool.",
            labels=("name", "endpoint", "phase"),
        )
        for name, columns in self._named():
            promises = self._pools.promises_of(columns)
            texts, others = promises.model.observations, dict(promises.generating.kinds())
            of_texts = msgspec.structs.asdict(promises.model.rates) if texts else {}
            for of, seconds in (of_texts | others).items():
                rates.add_metric((name, of), seconds)
            for each in promises.statistics() if texts or others else ():
                backlog.add_metric((name, each.endpoint), each.backlog_seconds + each.generate_seconds)
                if texts:
                    factors.add_metric((name, each.endpoint, "prefill"), each.prefill_factor)
                    factors.add_metric((name, each.endpoint, "decode"), each.decode_factor)
                if others:
                    factors.add_metric((name, each.endpoint, "generate"), each.generate_factor)
        yield from (rates, backlog, factors)

    def _named(self) -> list[tuple[str, Columns]]:
        """Return pools under upstream's label, their bare name; under `namespace/name` where that is not unique."""
        pools = list(self._pools.all())
        bare = Tally(columns.pool.name for columns in pools)
        return [(c.pool.name if bare[c.pool.name] == 1 else c.pool.key, c) for c in pools]

    def _of_requests(self) -> Iterable[Metric]:
        statistics = self._ledger.statistics()
        yield GaugeMetricFamily(
            "igw_reservations_open",
            "Requests that were picked for and have not ended.",
            value=statistics.open,
        )
        running = GaugeMetricFamily(
            "llm_d_epp_request_running", "Requests that were picked for and have not ended.",
            labels=("model_name", "target_model_name", "fairness_id", "priority"),
        )  # fmt: skip
        open_by = Tally(
            (request.model, request.served_model, "", str(request.priority))
            for request in self._ledger.open_requests()
        )
        for labels, count in open_by.most_common(1000):
            running.add_metric(labels, count)
        yield running


def _deviation(column: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return round(float(column.std(ddof=1)), 2) if len(column) > 1 else 0.0


_POOL_GAUGES: tuple[tuple[str, str, Callable[[Columns], float]], ...] = (
    ("average_kv_cache_utilization", "Mean share of KV memory in use.", lambda c: float(c.kv_usage.mean())),
    ("average_queue_size", "Mean of requests waiting.", lambda c: float(c.waiting.mean())),
    ("average_running_requests", "Mean of requests running.", lambda c: float(c.running.mean())),
    ("std_dev_kv_cache_utilization", "Sample deviation of KV usage.", lambda c: _deviation(c.kv_usage)),
    ("std_dev_queue_size", "Sample deviation of waiting requests.", lambda c: _deviation(c.waiting)),
    ("std_dev_running_requests", "Sample deviation of running requests.", lambda c: _deviation(c.running)),
)
