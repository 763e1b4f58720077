"""ServeGen's statistics of production clients -> requests drawn from them.

Formats that list requests have files of their own.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from math import gamma
from operator import attrgetter
from random import Random
from typing import Annotated, ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.traces.lines import Lines
from igw.lab.workload import Session, Turn

_Count = Annotated[float, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class Header(msgspec.Struct, frozen=True):
    """The first line: seconds of a window, and which quantiles lengths are given at."""

    pool: str
    window_s: _Positive
    quantiles_pct: Annotated[tuple[float, ...], msgspec.Meta(min_length=2)]


class Window(msgspec.Struct, frozen=True, array_like=True):
    """One client for `window_s` seconds: requests per second, and how their gaps are distributed (shape `p1`)."""

    t: _Seconds
    rate: _Count
    cv: float | None = None
    pattern: str | None = None
    p1: float | None = None
    p2: float | None = None


class Lengths(msgspec.Struct, frozen=True):
    """Quantiles of tokens from second `t` on."""

    t: _Seconds
    input_tokens: tuple[_Count, ...]
    output_tokens: tuple[_Count, ...]


class Client(msgspec.Struct, frozen=True):
    """One line: a client."""

    client: int | str
    windows: tuple[Window, ...]
    lengths: Annotated[tuple[Lengths, ...], msgspec.Meta(min_length=1)]


class ServeGen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open loop, drawn by chance (`seed`): every request is a session of its client, who is the tenant.

    Of the recorded day the part from `from_seconds` on is taken, `seconds` long. `rate` is the mean of all clients in requests per second
    (0: as recorded); it stretches every client's gaps alike, so mix, burstiness and the rise and fall of the day stay. Lengths are drawn
    from the client's quantiles, straight lines between them, prompt and answer independently. No two requests share text.
    """

    block_tokens: ClassVar[int] = 512
    quantum_seconds: ClassVar[float] = 0.0

    rate: _Count = 0.0
    seconds: _Positive = 1800.0
    from_seconds: _Seconds = 0.0
    seed: int = 0

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the header's `quantiles_pct`."""
        return first.startswith("{") and '"quantiles_pct"' in first

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield sessions by time; the whole file is read first. ConfigError if nobody sends anything in the time chosen."""
        header = lines.object(Header)
        clients = []
        for client in lines.objects(Client):
            _check(client, header, lines)
            clients.append(client)
        span = (self.from_seconds, self.from_seconds + self.seconds)
        expected = sum(_expected(client, header.window_s, span) for client in clients)
        if not expected:
            hint = f"choose others than {span[0]:g} to {span[1]:g}"
            raise lines.wrong("no client is active in the seconds chosen", hint)
        factor = self.rate * self.seconds / expected if self.rate else 1.0
        fresh = blocks.Fresh()
        streams = [self._requests(client, header, factor) for client in clients]
        for number, (at, tenant, prompt_tokens, output_tokens) in enumerate(heapq.merge(*streams)):
            runs = fresh.take(blocks.started(prompt_tokens + output_tokens, self.block_tokens))
            turn = Turn(prompt_tokens, output_tokens, runs)
            yield Session(f"request-{number}", (turn,), at - self.from_seconds, tenant=tenant)

    def _requests(
        self, client: Client, header: Header, factor: float
    ) -> Iterator[tuple[float, str, int, int]]:
        """Yield `(at, client, prompt tokens, output tokens)` of one client, by time."""
        name = str(client.client)
        rng = Random(f"{self.seed}/{name}")
        starts = [each.t for each in client.lengths]
        span = (self.from_seconds, self.from_seconds + self.seconds)
        for at in _arrivals(client.windows, header.window_s, factor, span, rng):
            lengths = client.lengths[max(0, bisect_right(starts, at) - 1)]
            prompt_tokens = _draw(lengths.input_tokens, header.quantiles_pct, rng)
            yield at, name, prompt_tokens, _draw(lengths.output_tokens, header.quantiles_pct, rng)


def _expected(client: Client, window_seconds: float, span: tuple[float, float]) -> float:
    """Return how many requests *client* sends within *span* in the mean."""
    return sum(
        window.rate * max(0.0, min(window.t + window_seconds, span[1]) - max(window.t, span[0]))
        for window in client.windows
    )


def _arrivals(
    windows: Sequence[Window], window_seconds: float, factor: float, span: tuple[float, float], rng: Random
) -> Iterator[float]:
    """Yield times within *span*: gaps of mean 1 in a time that runs as fast as the client's rate."""
    left = -1.0
    for window in windows:
        at, end = max(window.t, span[0]), min(window.t + window_seconds, span[1])
        rate = window.rate * factor
        if at >= end or not rate:
            continue
        gap = _gaps(window, rng)
        if left < 0:
            left = gap() * rng.random()  # the span begins somewhere within a gap
        while at + left / rate < end:
            at += left / rate
            yield at
            left = gap()
        left -= (end - at) * rate


def _gaps(window: Window, rng: Random) -> Callable[[], float]:
    """Return what draws gaps of mean 1; exponential ones where the window has no distribution."""
    shape = window.p1 or 0.0
    if shape > 0 and window.pattern == "Gamma":
        return lambda: rng.gammavariate(shape, 1 / shape)
    if shape > 0 and window.pattern == "Weibull":
        scale = 1 / gamma(1 + 1 / shape)
        return lambda: rng.weibullvariate(scale, shape)
    return lambda: rng.expovariate(1.0)


def _draw(values: Sequence[float], percents: Sequence[float], rng: Random) -> int:
    """Return a length of at least one token from *values* at *percents*."""
    percent = rng.random() * 100
    above = min(max(1, bisect_right(percents, percent)), len(percents) - 1)
    low, high = percents[above - 1], percents[above]
    share = (percent - low) / (high - low)
    return max(1, round(values[above - 1] + share * (values[above] - values[above - 1])))


def _check(client: Client, header: Header, lines: Lines) -> None:
    if list(header.quantiles_pct) != sorted(set(header.quantiles_pct)):
        raise lines.wrong("quantiles_pct of the first line do not rise")
    for known, rows in (("windows", client.windows), ("lengths", client.lengths)):
        starts = list(map(attrgetter("t"), rows))
        if starts != sorted(set(starts)):
            raise lines.wrong(f"{known} of client {client.client} are not in order of time")
    for lengths in client.lengths:
        for values in (lengths.input_tokens, lengths.output_tokens):
            if len(values) != len(header.quantiles_pct):
                raise lines.wrong(f"{len(values)} lengths for {len(header.quantiles_pct)} quantiles")
