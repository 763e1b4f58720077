"""Measures routing from outside: a timed `route`, and gauges read from columns whenever the metrics page is asked for."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import numpy as np
from prometheus_client.core import Metric

from igw.columns import Columns
from igw.decision import NO_RESERVATION, Decision
from igw.endpoint import Endpoint
from igw.errors import Rejected
from igw.outcomes.ledger import Ledger
from igw.outcomes.observed import RequestMetrics
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.pools import Pools
from igw.telemetry.exposition import Gauge
from igw.telemetry.families import Families
from igw.telemetry.labels import NAMES, RequestLabels

Route = Callable[[Request], Awaitable[Decision]]

_INFLIGHT = "inflight-load-producer"
"""Upstream's plugin that counts what is in flight; here the ledger does."""


class Picks:
    """Counts picks, and requests that got none."""

    def __init__(self, families: Families, requests: RequestMetrics) -> None:
        self._attempts = families.scheduler_attempts_total
        self._rewrites = families.model_rewrite_decisions_total
        self._requests = requests
        self._labels = families.request_labels
        self._endpoints: set[tuple[str, str]] = set()

    def made(self, decision: Decision) -> None:
        """Note a pick."""
        endpoint, request = decision.endpoint, decision.request
        _, target = self._labels.pair(request)
        self._attempts.labels("success", target, endpoint.name, endpoint.namespace, str(endpoint.port)).inc()
        if request.rewritten_by or request.target_model:
            by, rule = request.rewritten_by or ("", "")
            model, target = self._labels.pair(request)
            self._rewrites.labels(by, str(rule), model, target).inc()
        self._requests.decided(decision)

    def failed(self, request: Request) -> None:
        """Note a request that can go nowhere."""
        self._attempts.labels("failure", self._labels.pair(request)[1], "", "", "").inc()

    def serve(self, endpoints: Iterable[Endpoint]) -> None:
        """Drop the series of all but *endpoints*: Pods come and go, and names with them."""
        before, self._endpoints = self._endpoints, {(each.name, each.namespace) for each in endpoints}
        for name, namespace in before - self._endpoints:
            self._attempts.forget({"endpoint_name": name, "namespace": namespace})


def observed(route: Route, families: Families, picks: Picks, clock: Callable[[], float]) -> Route:
    """Return *route*, timed and counted."""
    seconds = families.scheduler_e2e_duration_seconds

    async def timed(request: Request) -> Decision:
        start = clock()
        try:
            decision = await route(request)
        except Rejected:
            picks.failed(request)
            raise
        if decision.id != NO_RESERVATION:  # else whoever decides counts it
            seconds.observe(clock() - start - decision.waited_seconds)
            picks.made(decision)
        return decision

    return timed


class State:
    """Gauges of pools, index and ledger."""

    def __init__(self, pools: Pools, prefix: PrefixIndex, ledger: Ledger, labels: RequestLabels) -> None:
        self._pools = pools
        self._prefix = prefix
        self._ledger = ledger
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        """Yield every gauge as it is now."""
        self._labels.know("servers", self._served())
        yield from self._of_pools()
        yield from self._of_work()
        yield from self._of_requests()
        size = Gauge(
            "llm_d_epp_prefix_indexer_size", "Blocks in the prefix index.", ("plugin_name", "plugin_type")
        )
        name = "approx-prefix-cache-producer"
        size.add((name, name), self._prefix.statistics().blocks)
        yield size.metric

    def _served(self) -> set[str]:
        """Return the models and adapters that engines say they serve."""
        found: set[str] = set()
        for columns in self._pools.all():
            for adapters in set(columns.adapters.tolist()):
                found |= {adapters.model, *adapters.running, *adapters.waiting}
        return found

    def _of_pools(self) -> Iterable[Metric]:
        named = self._named()
        ready = Gauge("llm_d_epp_ready_endpoints", "Endpoints that answer.", ("name",))
        for name, each in named:
            ready.add((name,), float((each.reported & ~each.failing).sum()))
        yield ready.metric
        filled = [(name, each) for name, each in named if len(each.pool)]
        for family, text, value in _POOL_GAUGES:
            gauge = Gauge(f"llm_d_epp_{family}", text, ("name",))
            for name, each in filled:
                gauge.add((name,), value(each))
            yield gauge.metric
        queue = Gauge(
            "llm_d_epp_per_endpoint_queue_size",
            "Requests waiting in an engine.",
            ("name", "model_server_endpoint"),
        )
        inflight = Gauge(
            "igw_inflight_requests", "Requests of this picker in flight at an endpoint.", ("name", "endpoint")
        )
        for name, each in filled:
            columns = zip(each.pool.endpoints, each.waiting.tolist(), each.inflight.tolist(), strict=True)
            for endpoint, waiting, running in columns:
                queue.add((name, endpoint.name), waiting)
                inflight.add((name, endpoint.hostport), running)
        yield from (queue.metric, inflight.metric)

    def _of_work(self) -> Iterable[Metric]:
        rates = Gauge(
            "igw_learned_seconds",
            "What work takes at an endpoint of factor 1, in seconds, by what it is.",
            ("name", "of"),
        )
        backlog = Gauge(
            "igw_backlog_seconds",
            "Prefill, and output other than text, promised to an endpoint and not done.",
            ("name", "endpoint"),
        )
        factors = Gauge(
            "igw_learned_factor",
            "How much longer an endpoint takes than its pool.",
            ("name", "endpoint", "phase"),
        )
        for name, columns in self._named():
            promises = self._pools.promises_of(columns)
            texts, others = promises.model.observations, dict(promises.generating.kinds())
            of_texts = msgspec.structs.asdict(promises.model.rates) if texts else {}
            for of, seconds in (of_texts | others).items():
                rates.add((name, of), seconds)
            for each in promises.statistics() if texts or others else ():
                backlog.add((name, each.endpoint), each.backlog_seconds + each.generate_seconds)
                if texts:
                    factors.add((name, each.endpoint, "prefill"), each.prefill_factor)
                    factors.add((name, each.endpoint, "decode"), each.decode_factor)
                if others:
                    factors.add((name, each.endpoint, "generate"), each.generate_factor)
        yield from (rates.metric, backlog.metric, factors.metric)

    def _named(self) -> list[tuple[str, Columns]]:
        """Return pools under upstream's label, their bare name; under `namespace/name` where that is not unique."""
        pools = list(self._pools.all())
        bare = Tally(columns.pool.name for columns in pools)
        return [(c.pool.name if bare[c.pool.name] == 1 else c.pool.key, c) for c in pools]

    def _of_requests(self) -> Iterable[Metric]:
        text = "Requests that were picked for and have not ended."
        reservations = Gauge("igw_reservations_open", text)
        reservations.add((), self._ledger.statistics().open)
        running = Gauge("llm_d_epp_request_running", text, NAMES)
        by = ("endpoint_name", "namespace", "producer_name", "fairness_id", "priority")
        requests = Gauge("llm_d_epp_inflight_requests", "The same, by endpoint and tenant.", by)
        tokens = Gauge("llm_d_epp_inflight_tokens", "Prompt tokens that they have to compute there.", by)
        open_by: Tally[tuple[str, ...]] = Tally()
        at: dict[tuple[str, ...], list[int]] = {}
        for decision in self._ledger.open_decisions():
            labels, endpoint = self._labels.of(decision.request), decision.endpoint
            open_by[labels] += 1
            there = at.setdefault((endpoint.name, endpoint.namespace, _INFLIGHT, *labels[2:]), [0, 0])
            there[0] += 1
            there[1] += decision.uncached_tokens
        for labels_, count in open_by.items():
            running.add(labels_, count)
        for labels_, (count, uncached) in at.items():
            requests.add(labels_, count)
            tokens.add(labels_, uncached)
        yield from (reservations.metric, running.metric, requests.metric, tokens.metric)


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
