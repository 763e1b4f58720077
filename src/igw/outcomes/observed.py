"""Metrics of requests and ejections: a ledger listener and a note at the pick. Ledger and health themselves count nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from igw.columns import Columns
from igw.decision import Decision
from igw.errors import Rejected
from igw.outcomes.health import Ejection
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import tokens_at
from igw.request import Head, Request
from igw.telemetry.families import Bounded, Families

log = structlog.get_logger("outcomes")

_DEFAULT_FLOW = "default-flow"
_MOST_COMBINATIONS = 2_000
"""Combinations of model, target, flow and priority that get series of their own; clients choose names."""
_UNREAD = Request(Head("", "", {}))


class _Children:
    """The series of one combination of labels, looked up once."""

    def __init__(self, families: Families, labels: tuple[str, str, str, str]) -> None:
        self.labels = labels
        self.total = families.request_total.labels(*labels)
        self.duration = families.request_duration_seconds.labels(*labels)
        self.ttft = {s: families.request_ttft_seconds.labels(*labels, s) for s in ("true", "false")}
        self.ntpot = families.request_ntpot_seconds.labels(*labels)
        self.tpot = families.request_streaming_tpot_seconds.labels(*labels)
        self.size = families.request_size_bytes.labels(*labels)
        self.response_size = families.response_size_bytes.labels(*labels)
        self.input_tokens = families.request_input_tokens.labels(*labels)
        self.output_tokens = families.request_output_tokens.labels(*labels)
        self.cached_tokens = families.request_cached_tokens.labels(*labels)


class Ejections:
    """Counts ejections, logs each, and says how many endpoints are ejected now."""

    def __init__(
        self, families: Families, columns: Callable[[], Iterable[Columns]], clock: Callable[[], float]
    ) -> None:
        self._total = families.endpoint_ejections_total
        self._columns = columns
        self._clock = clock

    def __call__(self, ejection: Ejection) -> None:
        """Note an ejection."""
        self._total.labels(ejection.reason.value).inc()
        log.warning(
            "endpoint_ejected",
            pool=ejection.pool,
            endpoint=ejection.hostport,
            reason=ejection.reason.value,
            failures_in_a_row=ejection.failures_in_a_row,
            failed_share=round(ejection.failed_share, 3),
            seconds=ejection.seconds,
        )

    def collect(self) -> Iterable[Metric]:
        """Yield the gauge as it is now."""
        gauge = GaugeMetricFamily(
            "igw_endpoints_ejected", "Endpoints of a pool now ejected.", labels=("name",)
        )
        now = self._clock()
        for columns in self._columns():
            gauge.add_metric((columns.pool.key,), float((columns.back_at > now).sum()))
        yield gauge


class RequestMetrics:
    """Writes the request families. Label values are bounded; beyond that they are `other`."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._models = Bounded()
        self._flows = Bounded()
        self._children: dict[tuple[str, str, str, int], _Children] = {}
        self._hit_ratio = families.prefix_indexer_hit_ratio.labels(
            "approx-prefix-cache-producer", "approx-prefix-cache-producer"
        )

    def decided(self, decision: Decision) -> None:
        """Note a pick."""
        request = decision.request
        children = self._of(request)
        children.total.inc()
        children.size.observe(request.body_bytes)
        if decision.blocks:
            self._hit_ratio.observe(decision.matched_tokens / tokens_at(len(decision.blocks)))

    def refused(self, request: Request | None, rejected: Rejected) -> None:
        """Note a request that got an error from us instead of a pick; *request* is None if it could not be read."""
        labels = self._of(request or _UNREAD).labels
        self._families.request_error_total.labels(*labels, rejected.code).inc()

    def __call__(self, decision: Decision, outcome: Outcome) -> None:
        """Note an end (ledger listener). Aborted requests count nowhere but in the error counter."""
        children = self._of(decision.request)
        if outcome.end is End.FAILED or outcome.status >= 400:
            self._families.request_error_total.labels(*children.labels, "ModelServerError").inc()
        if outcome.end is not End.COMPLETE:
            return
        if outcome.response_bytes is not None:
            children.response_size.observe(outcome.response_bytes)
        self._times(children, decision.request.stream, outcome)
        if decision.expected_ttft_seconds and decision.request.stream and outcome.ttft_seconds is not None:
            self._families.ttft_actual_to_expected.observe(
                max(0.0, outcome.ttft_seconds - decision.waited_seconds) / decision.expected_ttft_seconds
            )
        self._tokens(children, outcome)

    def _of(self, request: Request) -> _Children:
        model = self._models[request.model]
        target = self._models[request.target_model] if request.target_model else model
        key = (model, target, self._flows[request.fairness_id or _DEFAULT_FLOW], request.priority)
        children = self._children.get(key)
        if children is None and len(self._children) >= _MOST_COMBINATIONS:
            key = ("other", "other", "other", 0)
            children = self._children.get(key)
        if children is None:
            children = self._children[key] = _Children(self._families, (*key[:3], str(key[3])))
        return children

    @staticmethod
    def _times(children: _Children, stream: bool, outcome: Outcome) -> None:
        duration, ttft, tokens = (
            outcome.duration_seconds,
            outcome.ttft_seconds,
            outcome.usage.completion_tokens,
        )
        if ttft is not None:
            children.ttft["true" if stream else "false"].observe(ttft)
        if duration is None:
            return
        children.duration.observe(duration)
        if tokens:
            children.ntpot.observe(duration / tokens)
        if stream and ttft is not None and tokens and tokens > 1:
            children.tpot.observe((duration - ttft) / (tokens - 1))

    @staticmethod
    def _tokens(children: _Children, outcome: Outcome) -> None:
        usage = outcome.usage
        for series, count in (
            (children.input_tokens, usage.prompt_tokens),
            (children.output_tokens, usage.completion_tokens),
            (children.cached_tokens, usage.cached_tokens),
        ):
            if count is not None:
                series.observe(count)
