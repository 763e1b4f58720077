"""Upstream's two older sets of metric names, made from today's: renamed, labels that were not there yet summed away. Nothing is counted twice.

Source: llm-d-router 0.9 (`llm_d_router_epp_*`) and what every metric with a predecessor is written as beside it (`inference_*`, GIE v1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Sample

from igw.telemetry.exposition import Lined, Source, labels_text, number
from igw.telemetry.recording import Counter, Histogram

TODAYS = "llm_d_epp_"
LAST = "llm_d_router_epp_"

_MODELS = ("model_name", "target_model_name")
_FLOW = ("fairness_id", "priority", "inference_pool", *_MODELS)


class Older(msgspec.Struct, frozen=True):
    """What a family was called, and which labels it had: older name -> today's. None: today's."""

    name: str
    labels: Mapping[str, str] | None = None


def _with(*names: str) -> Mapping[str, str]:
    return {name: name for name in names}


def _objective(name: str, *labels: str) -> Older:
    return Older(f"inference_objective_{name}", _with(*(labels or _MODELS)))


def _extension(name: str, *labels: str) -> Older:
    return Older(f"inference_extension_{name}", _with(*labels) if labels else None)


def _pool(name: str) -> Older:
    return Older(f"inference_pool_{name}")


GIE: Mapping[str, Older] = {
    "request": _objective("request", *_MODELS, "priority"),
    "request_error": _objective("request_error", *_MODELS, "error_code"),
    "request_duration_seconds": _objective("request_duration_seconds"),
    "request_size_bytes": _objective("request_sizes"),
    "response_size_bytes": _objective("response_sizes"),
    "request_input_tokens": _objective("input_tokens"),
    "request_output_tokens": _objective("output_tokens"),
    "request_cached_tokens": _objective("prompt_cached_tokens"),
    "request_running": _objective("running_requests", "model_name"),
    "request_ntpot_seconds": _objective("normalized_time_per_output_token_seconds"),
    "request_ttft_seconds": _objective("request_ttft_seconds"),
    "request_streaming_tpot_seconds": _objective("request_tpot_seconds"),
    "request_predicted_ttft_seconds": _objective("request_predicted_ttft_seconds", "plugin_name", "plugin_type", *_MODELS),
    "request_slo_violation": _objective("request_slo_violation", "plugin_name", "plugin_type", *_MODELS, "type"),
    "average_kv_cache_utilization": _pool("average_kv_cache_utilization"),
    "average_queue_size": _pool("average_queue_size"),
    "average_running_requests": _pool("average_running_requests"),
    "std_dev_kv_cache_utilization": _pool("std_dev_kv_cache_utilization"),
    "std_dev_queue_size": _pool("std_dev_queue_size"),
    "std_dev_running_requests": _pool("std_dev_running_requests"),
    "ready_endpoints": _pool("ready_pods"),
    "per_endpoint_queue_size": Older(
        "inference_pool_per_pod_queue_size", {"name": "name", "model_server_pod": "model_server_endpoint"}
    ),
    "scheduler_e2e_duration_seconds": _extension("scheduler_e2e_duration_seconds"),
    "scheduler_attempts": Older(
        "inference_extension_scheduler_attempts",
        {**_with("status", "target_model_name"), "pod_name": "endpoint_name", **_with("namespace", "port")},
    ),
    "plugin_duration_seconds": _extension("plugin_duration_seconds"),
    "info": _extension("info"),
    "model_rewrite_decisions": _extension(
        "model_rewrite_decisions", "model_rewrite_name", "model_name", "target_model"
    ),
    "datalayer_poll_errors": Older("llm_d_inference_scheduler_datalayer_poll_errors"),
    "prefix_indexer_size": Older("inference_extension_prefix_indexer_size", {}),
    "prefix_indexer_hit_ratio": Older("inference_extension_prefix_indexer_hit_ratio", {}),
    "prefix_indexer_hit_bytes": Older("inference_extension_prefix_indexer_hit_bytes", {}),
    "flow_control_request_queue_duration_seconds": _extension("flow_control_request_queue_duration_seconds"),
    "flow_control_request_enqueue_duration_seconds": _extension("flow_control_request_enqueue_duration_seconds"),
    "flow_control_dispatch_cycle_duration_seconds": _extension("flow_control_dispatch_cycle_duration_seconds"),
    "flow_control_queue_size": _extension("flow_control_queue_size", *_FLOW),
    "flow_control_queue_bytes": _extension("flow_control_queue_bytes", *_FLOW),
    "flow_control_pool_saturation": _extension("flow_control_pool_saturation"),
}  # fmt: skip
"""Today's name without its prefix, and without `_total`."""


class Registry(CollectorRegistry):
    """A registry that can show its families under older names too."""

    def __init__(self) -> None:
        super().__init__()
        self._also: Callable[[Metric], Iterable[Metric]] = _nothing

    def also(self, names: Callable[[Metric], Iterable[Metric]]) -> None:
        """Show of each metric what *names* makes of it, after itself."""
        self._also = names

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        for metric in super().collect():
            yield metric
            yield from self._also(metric)


def older(metric: Metric) -> Iterator[Metric]:
    """Yield *metric* under its older names, if it has some."""
    short = metric.name.removeprefix(TODAYS)
    if short == metric.name:
        return
    yield _renamed(metric, Older(LAST + short))
    if short in GIE:
        yield _renamed(metric, GIE[short])


def _nothing(_metric: Metric) -> Iterable[Metric]:
    return ()


def _renamed(metric: Metric, to: Older) -> Metric:
    source: Source = _Renamed(metric, to)
    if isinstance(metric, Lined) and isinstance(metric.source, Counter | Histogram):
        own = metric.source
        labels = {name: name for name in own.names} if to.labels is None else to.labels
        source = own.under(to.name + ("_total" if metric.type == "counter" else ""), labels)
    return Lined(to.name, metric.documentation, metric.type, source)


class _Renamed(Source):
    """What was read from state, under another name."""

    def __init__(self, metric: Metric, to: Older) -> None:
        self._metric = metric
        self._to = to

    def samples(self) -> Iterator[Sample]:
        """Yield the samples by their older labels; those that only younger labels tell apart are added up."""
        sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        labels = self._to.labels
        for sample in self._metric.samples:
            name = self._to.name + sample.name.removeprefix(self._metric.name)
            found = sample.labels
            if labels is not None:
                found = {old: found[new] for old, new in labels.items()}
            key = (name, tuple(found.items()))
            sums[key] = sums.get(key, 0.0) + sample.value
        for (name, items), value in sums.items():
            yield Sample(name, dict(items), value)

    def lines(self, _exemplars: bool = False) -> Iterator[str]:
        """Yield them as lines."""
        for sample in self.samples():
            text = labels_text(tuple(sample.labels), tuple(sample.labels.values()))
            yield f"{sample.name}{text} {number(sample.value)}\n"
