"""HTTP requests by route, as prometheus-fastapi-instrumentator counts them on vLLM's page. Answers none itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from igw.simulator.metrics.families import Reading
from igw.simulator.metrics.histograms import Histogram
from igw.simulator.metrics.page import head, histogram_lines, written

NOT_COUNTED = frozenset({"/metrics", "/health", "/load", "/ping", "/version", "/server_info"})
"""Routes that vLLM keeps out of these families."""

FEW_BUCKETS = (0.1, 0.5, 1.0)
# fmt: off
MANY_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)
# fmt: on

_ONLY_HEADER = "Only value of header is respected. Otherwise ignored. No percentile calculated. "


class _Sizes:
    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = self.sum = 0


class HttpRequests:
    """Counts requests as they end; handlers are route templates, so their number is that of the routes."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._received: defaultdict[str, _Sizes] = defaultdict(_Sizes)
        self._sent: defaultdict[str, _Sizes] = defaultdict(_Sizes)
        self._all = Histogram(MANY_BUCKETS)
        self._by_handler: defaultdict[tuple[str, str], Histogram] = defaultdict(
            lambda: Histogram(FEW_BUCKETS)
        )
        self._text: str | None = None

    def observe(
        self,
        handler: str | None,
        method: str,
        status: int,
        seconds: float,
        received_bytes: int,
        sent_bytes: int,
    ) -> None:
        """Count a request and its answer; None stands for a path that is no route, bytes are content lengths."""
        if handler in NOT_COUNTED:
            return
        name = handler or "none"
        self._requests[name, method, f"{status // 100}xx"] += 1
        for sizes, size in ((self._received[name], received_bytes), (self._sent[name], sent_bytes)):
            sizes.count += 1
            sizes.sum += size
        self._all.observe(seconds)
        self._by_handler[name, method].observe(seconds)
        self._text = None

    def block(self, _readings: Sequence[Reading]) -> str:
        """Return the text of the families; written again only when there were requests."""
        if self._text is None:
            self._text = "".join(self._lines())
        return self._text

    def _lines(self) -> Iterator[str]:
        yield head(
            "http_requests_total", "counter", "Total number of requests by method, status and handler."
        )
        for (handler, method, status), count in self._requests.items():
            labels = {"handler": handler, "method": method, "status": status}
            yield f"{written('http_requests_total', labels)}{count}.0\n"
        yield from _summary(
            "http_request_size_bytes",
            f"Content length of incoming requests by handler. {_ONLY_HEADER}",
            self._received,
        )
        yield from _summary(
            "http_response_size_bytes",
            f"Content length of outgoing responses by handler. {_ONLY_HEADER}",
            self._sent,
        )
        name = "http_request_duration_highr_seconds"
        yield head(
            name,
            "histogram",
            "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
        )
        yield from histogram_lines(name, {}, self._all)
        name = "http_request_duration_seconds"
        yield head(
            name,
            "histogram",
            "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
        )
        for (handler, method), histogram in self._by_handler.items():
            yield from histogram_lines(name, {"handler": handler, "method": method}, histogram)


def _summary(name: str, text: str, by_handler: dict[str, _Sizes]) -> Iterator[str]:
    yield head(name, "summary", text)
    for handler, sizes in by_handler.items():
        labels = {"handler": handler}
        yield f"{written(f'{name}_count', labels)}{sizes.count}.0\n{written(f'{name}_sum', labels)}{sizes.sum}.0\n"
