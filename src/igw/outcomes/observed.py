"""Metrics of requests and ejections: a ledger listener and a note at the pick. Ledger and health themselves count nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from igw.columns import Columns
from igw.decision import Decision
from igw.errors import Rejected
from igw.facts import APPROXIMATE, EXACT, SPECULATIVE
from igw.outcomes.health import Ejection
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import BYTES_PER_TOKEN, tokens_at
from igw.request import Head, Request
from igw.telemetry.families import Families
from igw.telemetry.labels import NAMES, Labels

log = structlog.get_logger("outcomes")

_APPROXIMATE = "approx-prefix-cache-producer"
_PRICED_BY = "marginal-work-scorer"
_UNREAD = Request(Head("", "", {}))


class _Children:
    """The series of one combination of labels, looked up once."""

    def __init__(self, families: Families, labels: Labels) -> None:
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
        self.itl = families.request_streaming_itl_seconds.labels(*labels)


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
        self._labels = families.request_labels
        self._labels.listen(self._forget)
        self._children: dict[tuple[str, ...], _Children] = {}
        self._hit_ratio = families.prefix_indexer_hit_ratio.labels(_APPROXIMATE, _APPROXIMATE)
        self._hit_bytes = families.prefix_indexer_hit_bytes.labels(_APPROXIMATE, _APPROXIMATE)
        self._matches = {
            by: families.prefix_matches_total.labels(by or "none")
            for by in ("", EXACT, SPECULATIVE, APPROXIMATE)
        }

    def decided(self, decision: Decision) -> None:
        """Note a pick."""
        request = decision.request
        children = self._of(request)
        children.total.inc()
        children.size.observe(request.body_bytes)
        if request.prompt_bytes:
            self._matches[decision.matched_by].inc()
        if decision.blocks:
            # What is known exactly may go beyond the last whole block of ours.
            self._hit_ratio.observe(min(1.0, decision.matched_tokens / tokens_at(len(decision.blocks))))
            self._hit_bytes.observe(min(request.prompt_bytes, decision.matched_tokens * BYTES_PER_TOKEN))
        if decision.expected_ttft_seconds:
            predicted = self._families.request_predicted_ttft_seconds
            pair = self._labels.pair(request)
            predicted.labels(_PRICED_BY, _PRICED_BY, *pair).observe(decision.expected_ttft_seconds)

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
        if 0 < outcome.status < 400:
            self._labels.answered(decision.request)
        if outcome.response_bytes is not None:
            children.response_size.observe(outcome.response_bytes)
        self._times(children, decision.request.stream, outcome)
        if decision.expected_ttft_seconds and decision.request.stream and outcome.ttft_seconds is not None:
            self._families.ttft_actual_to_expected.observe(
                max(0.0, outcome.ttft_seconds - decision.waited_seconds) / decision.expected_ttft_seconds
            )
        self._tokens(children, outcome)

    def piece(self, decision: Decision, seconds: float) -> None:
        """Note that a piece of a streamed answer came so long after the one before it."""
        self._of(decision.request).itl.observe(seconds)

    def _of(self, request: Request) -> _Children:
        labels = self._labels.of(request)
        children = self._children.get(labels)
        if children is None:
            children = self._children[labels] = _Children(self._families, labels)
        return children

    def _forget(self, values: Mapping[str, str]) -> None:
        """Let go of series that are no more."""
        if len(values) == len(NAMES):
            self._children.pop(tuple([values[name] for name in NAMES]), None)

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
        if stream and outcome.tpot_seconds is not None:
            children.tpot.observe(outcome.tpot_seconds)

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
