"""Every metric family, once: name, help, labels, buckets. Names are upstream's (`llm_d_epp_*`) where upstream has one.

What is written when is decided by the rooms' wrappers; gauges that can be read from state are collected at scrape time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from igw.telemetry.recording import Counter, Histogram

_GENERAL = (.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120, 180,
            240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)  # fmt: skip
_TTFT = (*_GENERAL[:22], 60)
_FAST = (.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1)  # fmt: skip
_PROCESSING = (.0005, .001, .002, .005, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10)  # fmt: skip
# 32778 is upstream's; its dashboards and tests know it.
_QUEUED = (.0001, .0005, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60)  # fmt: skip
_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288,
           1048576)  # fmt: skip
_OUTPUT_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_BYTES = tuple(2**power for power in range(6, 31))
_RESPONSE_BYTES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536)
_NTPOT = (.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10)  # fmt: skip
_TPOT = (.0005, .00205, .005, .01, .02, .04, .06, .08, .1, .125, .15, .2, .3, .4, .5, .6, .8, 1, 2)  # fmt: skip
_RATIO = tuple(step / 10 for step in range(11))

_ACCURACY = (.1, .2, .33, .5, .67, .8, .9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)  # fmt: skip

_REQUEST = ("model_name", "target_model_name", "fairness_id", "priority")


class Families:
    """The families of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(name, text, labels, self.registry)

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
        ) -> Histogram:
            return Histogram(name, text, labels, buckets, self.registry)

        self.request_total = counter(
            "llm_d_epp_request_total", "Requests that were given an endpoint.", _REQUEST
        )
        self.request_error_total = counter(
            "llm_d_epp_request_error_total", "Requests that ended in an error.", (*_REQUEST, "error_code")
        )
        self.request_duration_seconds = histogram(
            "llm_d_epp_request_duration_seconds",
            "From the request to the end of its answer.",
            _GENERAL,
            _REQUEST,
        )
        self.request_ttft_seconds = histogram(
            "llm_d_epp_request_ttft_seconds", "From the request to the first byte of its answer's body.",
            _TTFT, (*_REQUEST, "streaming"),
        )  # fmt: skip
        self.request_ntpot_seconds = histogram(
            "llm_d_epp_request_ntpot_seconds", "Duration divided by output tokens.", _NTPOT, _REQUEST
        )
        self.request_streaming_tpot_seconds = histogram(
            "llm_d_epp_request_streaming_tpot_seconds", "(Duration - TTFT) / (output tokens - 1) of streams.",
            _TPOT, _REQUEST,
        )  # fmt: skip
        self.request_size_bytes = histogram(
            "llm_d_epp_request_size_bytes", "Size of request bodies.", _BYTES, _REQUEST
        )
        self.response_size_bytes = histogram(
            "llm_d_epp_response_size_bytes", "Size of answers.", _RESPONSE_BYTES, _REQUEST
        )
        self.request_input_tokens = histogram(
            "llm_d_epp_request_input_tokens", "Prompt tokens, as the model server counted.", _TOKENS, _REQUEST
        )
        self.request_output_tokens = histogram(
            "llm_d_epp_request_output_tokens",
            "Output tokens, as the model server counted.",
            _OUTPUT_TOKENS,
            _REQUEST,
        )
        self.request_cached_tokens = histogram(
            "llm_d_epp_request_cached_tokens", "Prompt tokens found in a prefix cache.", _TOKENS, _REQUEST
        )
        self.scheduler_e2e_duration_seconds = histogram(
            "llm_d_epp_scheduler_e2e_duration_seconds", "Time of one pick, facts included.", _FAST
        )
        self.scheduler_attempts_total = counter(
            "llm_d_epp_scheduler_attempts_total", "Picks, by result.",
            ("status", "target_model_name", "endpoint_name", "namespace", "port"),
        )  # fmt: skip
        self.model_rewrite_decisions_total = counter(
            "llm_d_epp_model_rewrite_decisions_total", "Picks for another model than the client's, by what said so.",
            ("model_rewrite_name", "rule", "model_name", "target_model"),
        )  # fmt: skip
        self.plugin_duration_seconds = histogram(
            "llm_d_epp_plugin_duration_seconds", "Time of one call of a plugin.", _FAST,
            ("extension_point", "plugin_type", "plugin_name"),
        )  # fmt: skip
        self.request_processing_duration_seconds = histogram(
            "llm_d_epp_request_processing_duration_seconds",
            "From the request's headers to its pick, waiting for its body included.", _PROCESSING,
        )  # fmt: skip
        self.prefix_indexer_hit_ratio = histogram(
            "llm_d_epp_prefix_indexer_hit_ratio", "Share of a prompt's tokens believed cached where it was sent.",
            _RATIO, ("plugin_name", "plugin_type"),
        )  # fmt: skip
        self._of_queues(histogram)
        self._ours(counter, histogram)

    def _of_queues(self, histogram: Callable[..., Histogram]) -> None:
        """Make the families of flow control that are no pictures of a moment."""
        self.flow_control_request_queue_duration_seconds = histogram(
            "llm_d_epp_flow_control_request_queue_duration_seconds",
            "From the request to its place, or until it got none.",
            _QUEUED, ("fairness_id", "priority", "outcome", "inference_pool", "model_name", "target_model_name"),
        )  # fmt: skip

    def _ours(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families that upstream does not have."""
        self.reservations_expired_total = counter(
            "igw_reservations_expired_total", "Reservations that ended by deadline, for want of another end."
        )
        self.endpoint_ejections_total = counter(
            "igw_endpoint_ejections_total", "Endpoints ejected because requests kept failing.", ("reason",)
        )
        self.config_reloads_total = counter(
            "igw_config_reloads_total", "Edits of watched files, by result (applied, refused).", ("result",)
        )
        self.plugin_failures_total = counter(
            "igw_plugin_failures_total",
            "Facts that are missing because their producer failed (error) or was late, and scores outside of 0 to 1 (score).",
            ("plugin_type", "plugin_name", "reason"),
        )
        self.ttft_actual_to_expected = histogram(
            "igw_ttft_actual_to_expected",
            "Time to first byte of a stream, by what the pick expected.",
            _ACCURACY,
        )

    def collect_with(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read from state whenever the page is asked for."""
        self.registry.register(_FromState(collect))


class _FromState(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Bounded(dict[str, str]):
    """Label values seen so far, at most *limit* of them; the rest share the value `other`."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, value: str) -> str:
        if len(self) >= self._limit:
            return "other"
        self[value] = value
        return value
