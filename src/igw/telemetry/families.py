"""Every metric family, once: name, help, labels, buckets. Names are upstream's (`llm_d_epp_*`) where upstream has one.

What is written when is decided by the rooms' wrappers; gauges that can be read from state are collected at scrape time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from igw.telemetry.labels import CHOSEN, NAMES, RequestLabels
from igw.telemetry.older import Registry
from igw.telemetry.recording import Counter, Histogram

_GENERAL = (.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120, 180,
            240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)  # fmt: skip
# Upstream's end at 60 or 10; requests may wait for longer than that.
_LONG = (120, 300, 600)
_TTFT = (*_GENERAL[:22], 60, *_LONG)
_FAST = (.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1)  # fmt: skip
_PROCESSING = (.0005, .001, .002, .005, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10, 30, 60,
               *_LONG)  # fmt: skip
# 32778 is upstream's; its dashboards and tests know it.
_QUEUED = (.0001, .0005, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, *_LONG)  # fmt: skip
_CONFIRMED = (.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)  # fmt: skip
_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288,
           1048576)  # fmt: skip
_OUTPUT_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_BYTES = tuple(2**power for power in range(6, 31))
_RESPONSE_BYTES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536)
# Upstream's powers of two; prompts that hit with megabytes are told apart too.
_HIT_BYTES = (0, *(2**power for power in range(4, 17)), 262144, 1048576, 4194304, 16777216)
_ITL = (.001, .005, .01, .02, .04, .06, .08, .1, .15, .2, .3, .5, .75, 1, 2, 5, 10, 30, 60)  # fmt: skip
_ANSWERING = (.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 30, 60,
              *_LONG)  # fmt: skip
_EXCHANGE = (.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 120, 300, 600)  # fmt: skip
_OF_OBJECTIVE = (.1, .25, .5, .75, .9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100)  # fmt: skip
_NTPOT = (.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10)  # fmt: skip
_TPOT = (.0005, .00205, .005, .01, .02, .04, .06, .08, .1, .125, .15, .2, .3, .4, .5, .6, .8, 1, 2)  # fmt: skip
_RATIO = tuple(step / 10 for step in range(11))

_REGRET = (0, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60)  # fmt: skip
_DIFFERENCE = (-60, -10, -5, -2, -1, -.5, -.2, -.1, -.05, -.02, -.01, -.001, .001, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10,
               60)  # fmt: skip
_ACCURACY = (.1, .2, .33, .5, .67, .8, .9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)  # fmt: skip

_REQUEST = NAMES


class Families:
    """The families of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._recorded: list[Counter | Histogram] = []
        self.request_labels = RequestLabels(self.forget)

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            made = Counter(name, text, labels, self.registry)
            self._recorded.append(made)
            return made

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
        ) -> Histogram:
            made = Histogram(name, text, labels, buckets, self.registry)
            self._recorded.append(made)
            return made

        self._of_requests(counter, histogram)
        self._of_picks(counter, histogram)
        self._of_answers(counter, histogram)
        self._of_queues(histogram)
        self._of_objectives(counter, histogram)
        self._ours(counter, histogram)
        self._of_shadows(counter, histogram)

    def _of_requests(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families that are written by request."""
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

    def _of_picks(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families of deciding."""
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
        self.prefix_indexer_hit_bytes = histogram(
            "llm_d_epp_prefix_indexer_hit_bytes", "Bytes of a prompt believed cached where it was sent.",
            _HIT_BYTES, ("plugin_name", "plugin_type"),
        )  # fmt: skip
        self.request_predicted_ttft_seconds = histogram(
            "llm_d_epp_request_predicted_ttft_seconds", "Time to first token that the pick expected, from dispatch.",
            _TTFT, ("plugin_name", "plugin_type", "model_name", "target_model_name"),
        )  # fmt: skip

    def _of_answers(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families of what passes through the picker: answers, and exchanges as such."""
        self.request_streaming_itl_seconds = histogram(
            "llm_d_epp_request_streaming_itl_seconds", "Between two pieces of a streamed answer that passes through.",
            _ITL, _REQUEST,
        )  # fmt: skip
        self.response_processing_duration_seconds = histogram(
            "llm_d_epp_response_processing_duration_seconds",
            "Time spent on one answer that passes through.",
            _ANSWERING,
        )
        self.extproc_stream_duration_seconds = histogram(
            "llm_d_epp_extproc_stream_duration_seconds",
            "From the begin of an exchange to its end.",
            _EXCHANGE,
        )
        self.extproc_streams_total = counter(
            "llm_d_epp_extproc_streams_total", "Exchanges that ended, by gRPC code.", ("code",)
        )

    def _of_objectives(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families of service level objectives (docs/slo.md)."""
        by = ("inference_pool", "objective", "model_name", "of")
        self.request_slo_violation_total = counter(
            "llm_d_epp_request_slo_violation_total", "Answers later than their objective, by what was late.",
            ("plugin_name", "plugin_type", "model_name", "target_model_name", "type"),
        )  # fmt: skip
        self.slo_requests_total = counter(
            "igw_slo_requests_total",
            "Requests with an objective, by result (attained, missed; failed: no whole answer; unknown: nobody saw).",
            (*by, "result"),
        )
        self.slo_actual_to_objective = histogram(
            "igw_slo_actual_to_objective",
            "What a request took, by its objective; above 1 is a miss.",
            _OF_OBJECTIVE,
            by,
        )
        self.slo_missed_seconds_total = counter(
            "igw_slo_missed_seconds_total", "Time of requests that missed, by where it went.", (*by, "stage")
        )

    def _of_queues(self, histogram: Callable[..., Histogram]) -> None:
        """Make the families of flow control that are no pictures of a moment."""
        self.flow_control_request_queue_duration_seconds = histogram(
            "llm_d_epp_flow_control_request_queue_duration_seconds",
            "From the request to its place, or until it got none.",
            _QUEUED, ("fairness_id", "priority", "outcome", "inference_pool", "model_name", "target_model_name"),
        )  # fmt: skip
        self.flow_control_request_enqueue_duration_seconds = histogram(
            "llm_d_epp_flow_control_request_enqueue_duration_seconds",
            "Time to take a request in: to let it wait, to turn it away, or to place it at once.",
            _FAST, ("fairness_id", "priority", "outcome"),
        )  # fmt: skip
        self.flow_control_dispatch_cycle_duration_seconds = histogram(
            "llm_d_epp_flow_control_dispatch_cycle_duration_seconds",
            "Time of one look at who waits, the picks for those who go included.", _FAST,
        )  # fmt: skip
        self.flow_control_revocation_confirmation_seconds = histogram(
            "llm_d_epp_flow_control_revocation_confirmation_seconds",
            "From when a request in flight was to be given up to its end.", _CONFIRMED, ("inference_pool",),
        )  # fmt: skip

    def _ours(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families that upstream does not have."""
        self.reservations_expired_total = counter(
            "igw_reservations_expired_total", "Reservations that ended by deadline, for want of another end."
        )
        self.endpoint_ejections_total = counter(
            "igw_endpoint_ejections_total", "Endpoints ejected because requests kept failing.", ("reason",)
        )
        self.prefix_matches_total = counter(
            "igw_prefix_matches_total",
            "Picks of prompts, by what was known of the picked endpoint's prefix cache (exact, speculative, approximate; none: no match).",
            ("matched_by",),
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

        self.decision_regret_seconds = histogram(
            "igw_decision_regret_seconds",
            "By how much another candidate would have been better, by what was known in the end; one decision in fifty.",
            _REGRET,
        )
        self.prefix_tokens_total = counter(
            "igw_prefix_tokens_total",
            "Tokens of prompts (prompt), those believed cached where they went (picked), and in all caches together (anywhere); of one decision in ten.",
            ("of",),
        )

    def _of_shadows(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """Make the families of shadow policies, by the policy's name."""
        self.shadow_decisions_total = counter(
            "igw_shadow_decisions_total",
            "Decisions that a shadow policy looked at, by whether it agrees (true, false; refused: it would have turned the request away).",
            ("policy", "agrees"),
        )
        self.shadow_ttft_difference_seconds = histogram(
            "igw_shadow_ttft_difference_seconds",
            "How much later a shadow policy's choice would have had its first token, by the learned model; below 0: sooner.",
            _DIFFERENCE,
            ("policy",),
        )
        self.shadow_ttft_seconds_total = counter(
            "igw_shadow_ttft_seconds_total",
            "Estimated times to first token, summed up: of what was chosen, and of what the shadow policy would have chosen.",
            ("policy", "of"),
        )
        self.shadow_cpu_seconds_total = counter(
            "igw_shadow_cpu_seconds_total", "CPU time that a shadow policy took to decide.", ("policy",)
        )
        self.shadow_skipped_total = counter(
            "igw_shadow_skipped_total", "Decisions that no shadow policy looked at, for want of time."
        )

    def forget(self, values: Mapping[str, str]) -> None:
        """Drop every series with these label values, of families that have these of the labels that clients choose, and no others of those."""
        for family in self._recorded:
            if CHOSEN & values.keys() == CHOSEN & set(family.names):
                family.forget(values)

    def collect_with(self, *collects: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read from state whenever the page is asked for."""
        for collect in collects:
            self.registry.register(_FromState(collect))


class _FromState(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()
