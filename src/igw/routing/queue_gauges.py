"""What queues look like on the metrics page, by upstream's names: read from their statistics when it is asked for. Times are `observed`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from igw.flow.statistics import Fill, Statistics
from igw.routing.holding import Holding

_PREFIX = "llm_d_epp_flow_control_"
_MOST_SERIES = 1000
"""Tenants of which each is named; the largest ones are."""


def collect(holding: Holding) -> Iterable[Metric]:
    """Yield the families of all queues. Pools are named `namespace/name`."""
    queues = holding.statistics()
    yield from _of_flows(queues.items())
    full = _gauge("pool_saturation", "How full the pool is; 1 is full.", "inference_pool", "stage")
    for pool, stage, value in holding.saturation():
        full.add_metric((pool, stage), value)
    yield full
    stale = _gauge("stale_endpoints", "Endpoints of which nothing fresh is known.", "detector")
    detector, count = holding.stale()
    stale.add_metric((detector,), count)
    yield stale
    for family, text, share in _OF_BANDS:
        gauge = _gauge(f"capacity_utilization_{family}", text, "priority", "inference_pool")
        for pool, each in queues.items():
            for priority, fill in each.bands.items():
                gauge.add_metric((str(priority), pool), share(fill))
        yield gauge
        total = _gauge(f"global_capacity_utilization_{family}", text, "inference_pool")
        for pool, each in queues.items():
            if (each.total.max_requests if family == "requests" else each.total.max_bytes) is not None:
                total.add_metric((pool,), share(each.total))
        yield total
    outcomes = CounterMetricFamily(
        f"{_PREFIX}requests", "Requests that asked for a place, by how that ended.", labels=("outcome", "priority", "inference_pool")
    )  # fmt: skip
    for pool, each in queues.items():
        for (outcome, priority), count in each.outcomes.items():
            outcomes.add_metric((outcome.value, str(priority), pool), count)
    yield outcomes
    yield from _of_revocations(queues.items())


def _of_flows(queues: Iterable[tuple[str, Statistics]]) -> Iterator[Metric]:
    labels = ("fairness_id", "priority", "inference_pool", "model_name", "target_model_name")
    size = _gauge("queue_size", "Requests that wait.", *labels)
    bytes_ = _gauge("queue_bytes", "Size of the bodies of requests that wait.", *labels)
    for pool, each in queues:
        largest = sorted(each.flows.items(), key=lambda flow: -flow[1][0])
        for index, ((flow, priority), (requests, held_bytes)) in enumerate(largest):
            if index >= _MOST_SERIES:
                break
            # Models are not told apart: a tenant's requests wait in one line.
            name = (flow, str(priority), pool, "", "")
            size.add_metric(name, requests)
            bytes_.add_metric(name, held_bytes)
    yield size
    yield bytes_


def _of_revocations(queues: Iterable[tuple[str, Statistics]]) -> Iterator[Metric]:
    issued = CounterMetricFamily(
        f"{_PREFIX}revocations_issued",
        "Requests in flight that were to be given up.",
        labels=("priority", "inference_pool"),
    )
    settled = CounterMetricFamily(
        f"{_PREFIX}revocations",
        "Of them, those that have ended, or did not in time.",
        labels=("outcome", "inference_pool"),
    )
    target = _gauge(
        "reclaim_target", "By how much a pool was too full when that was last looked at.", "inference_pool"
    )
    pending = _gauge("pending_reclaim", "Of them, those that have not ended yet.", "inference_pool")
    for pool, each in queues:
        for priority, count in each.revocations_issued.items():
            issued.add_metric((str(priority), pool), count)
        settled.add_metric(("confirmed", pool), each.revocations_confirmed)
        settled.add_metric(("timed_out", pool), each.revocations_timed_out)
        pending.add_metric((pool,), each.revocations_pending)
        target.add_metric((pool,), each.reclaim_target)
    yield from (issued, settled, target, pending)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)


def _requests(fill: Fill) -> float:
    return fill.requests / fill.max_requests if fill.max_requests else 0.0


def _bytes(fill: Fill) -> float:
    return fill.size_bytes / fill.max_bytes if fill.max_bytes else 0.0


_OF_BANDS: tuple[tuple[str, str, Callable[[Fill], float]], ...] = (
    ("requests", "Share of the requests that may wait.", _requests),
    ("bytes", "Share of the bytes that may wait.", _bytes),
)
