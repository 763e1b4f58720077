"""How long prefill and decoding take at each endpoint of a pool, learned from finished requests.

One linear fit for the pool and one factor per endpoint: an endpoint without data is like the others with the same accelerator, or like all
where none is named, and unequal hardware separates by itself. No constant depends on the accelerator. Reads no clock; who measures is not here.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from igw.work.ridge import Ridge, Vector

_PREFILL_SCALE = (1.0, 1e4, 1e9)
"""Units of the fit: a constant, ten thousand tokens, 10^9 token pairs (attention)."""
_DECODE_SCALE = (1.0, 10.0, 1e5)
"""A constant, ten sequences in the batch, a hundred thousand tokens of context."""
_FIRST_OVERHEAD_SECONDS = 0.03
_DECODE_PRIOR = (0.02, 0.001, 0.004)
_DECODE_PRECISION = (3e4, 3e3, 1e4)
_LEAST_DECODING = 0.2
"""Of the time from first to last token: at least so much of it is not waiting for the prefill of others."""
_LEAST_FACTOR, _MOST_FACTOR = 0.05, 20.0
_SURPRISE = 3.0
"""An observation further from its prediction than this factor counts as that far: outliers move little."""
_MOST_KINDS = 100
_PRESSED = 0.93
"""Above this share of KV memory a late first token may have waited for memory, which is not prefill."""


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One finished request as the model learns from it. Tokens and pairs are those computed, not those cached."""

    endpoint: str
    """Its `host:port`."""
    tokens: float
    """Uncached prompt tokens of the request and of those that were ahead of it."""
    pairs: float
    """The same for attention: `n^2 - (n - U)^2` for a prompt of n tokens of which U are computed."""
    ttft_seconds: float | None
    """From dispatch; None where nobody could see it: then the whole time is split as the rates say, and both parts teach."""
    e2e_seconds: float
    output_tokens: int
    """0 where it is not known."""
    running: float
    """Other requests in their decode phase, in the mean."""
    context_tokens: float
    """Tokens of all requests in flight there, in the mean."""
    kv_usage: float
    """At dispatch, 0 to 1."""
    model: str = ""
    meanwhile_tokens: float = 0.0
    """Uncached prompt tokens of others that were computed there between its first token and its last; decoding waits for them."""
    meanwhile_pairs: float = 0.0


class Rates(msgspec.Struct, frozen=True):
    """The pool's fit, in seconds; an endpoint's are these times its factor."""

    overhead: float
    per_token: float
    per_pair: float
    """Attention of one token to one other."""
    step: float
    """One output token on an idle endpoint."""
    per_sequence: float
    """What each other sequence in the batch adds to an output token."""
    per_context_token: float
    """What each token of context in the batch adds to an output token."""


class _Factor:
    """How much longer than the pool's fit one endpoint takes, or all of one *kind*: then each teaches that, and begins with it."""

    __slots__ = ("_decode_count", "_decode_sum", "_kind", "_products", "_squares", "decode", "prefill")

    def __init__(self, kind: _Factor | None = None) -> None:
        self._kind = kind
        self.prefill: float = 1.0 if kind is None else kind.prefill
        self.decode: float = 1.0 if kind is None else kind.decode
        self._products = self._squares = self._decode_sum = self._decode_count = 0.0

    def learn_prefill(self, product: float, square: float) -> None:
        """Take in seconds that were seen times those that the fit expects, and these squared."""
        prior = 1.0
        if self._kind is not None:
            self._kind.learn_prefill(product, square)
            prior = self._kind.prefill
        self._products = 0.98 * self._products + product
        self._squares = 0.98 * self._squares + square
        slow = (self._products + 2 * prior) / (self._squares + 2)
        self.prefill = min(max(slow, _LEAST_FACTOR), _MOST_FACTOR)

    def learn_decode(self, ratio: float) -> None:
        """Take in how much longer than the fit expects an output token took."""
        prior = 1.0
        if self._kind is not None:
            self._kind.learn_decode(ratio)
            prior = self._kind.decode
        self._decode_sum = 0.98 * self._decode_sum + ratio
        self._decode_count = 0.98 * self._decode_count + 1
        self.decode = (self._decode_sum + 5 * prior) / (self._decode_count + 5)


class WorkModel:
    """Learns `Rates` and a factor per endpoint; answers for endpoints it has never seen."""

    def __init__(self) -> None:
        self._prefill = Ridge(0.999)
        self._decode = Ridge(0.999)
        self._level_products = self._level_squares = 0.0
        self._factors: dict[str, _Factor] = {}
        self._kinds: dict[str, _Factor] = {}
        self._accelerators: Mapping[str, str] = {}
        self._output: dict[str, float] = {}
        self._prefill_fit: Vector = (_FIRST_OVERHEAD_SECONDS, 1.0, 1.0)
        self._decode_fit: Vector = _DECODE_PRIOR
        self.decode_seconds = 5.0
        """Running mean of the time from first to last token: how long memory stays in use."""
        self.observations = 0
        self.rates = self._rates()

    def output_tokens(self, model: str) -> float:
        """Return how long an answer of *model* is in the mean."""
        return self._output.get(model, 200.0)

    def factor(self, endpoint: str) -> tuple[float, float]:
        """Return how much longer than the pool's rates prefill and decoding take at *endpoint*; 1 where nothing is known."""
        known = self._factors.get(endpoint) or self._kinds.get(self._accelerators.get(endpoint, ""))
        return (1.0, 1.0) if known is None else (known.prefill, known.decode)

    def place(self, accelerators: Mapping[str, str]) -> None:
        """Take *accelerators* for what the endpoints of the pool compute on; one without a name is like all the others.

        What is known of one that nobody has any more is kept: its endpoints may come back.
        """
        for endpoint, name in self._accelerators.items():
            if accelerators.get(endpoint, name) != name:
                self.forget(endpoint)
        self._accelerators = accelerators
        while len(self._kinds) > _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]

    def forget(self, endpoint: str) -> None:
        """Drop what is known of an endpoint that left."""
        self._factors.pop(endpoint, None)

    def learn(self, seen: Observation) -> None:
        """Take in a request that has ended; one of which neither first token nor length is known teaches nothing."""
        if seen.ttft_seconds is None and not seen.output_tokens:
            return
        self.observations += 1
        factor = self._factors.get(seen.endpoint)
        if factor is None:
            accelerator = self._accelerators.get(seen.endpoint, "")
            kind = self._kinds.setdefault(accelerator, _Factor()) if accelerator else None
            factor = self._factors[seen.endpoint] = _Factor(kind)
        ttft = self._split(seen, factor) if seen.ttft_seconds is None else seen.ttft_seconds
        self._learn_prefill(seen, factor, ttft)
        decoding = seen.e2e_seconds - ttft
        if seen.output_tokens > 4 and decoding > 0:
            rates = self.rates
            stalled = rates.per_token * seen.meanwhile_tokens + rates.per_pair * seen.meanwhile_pairs
            # Without this an endpoint with much prefill would pass for one that decodes slowly.
            undisturbed = max(_LEAST_DECODING * decoding, decoding - factor.prefill * stalled)
            self._learn_decode(seen, factor, undisturbed / (seen.output_tokens - 1))
        self.decode_seconds += 0.02 * (decoding - self.decode_seconds)
        if seen.output_tokens:
            self._learn_output(seen.model, seen.output_tokens)
        self.rates = self._rates()

    def _split(self, seen: Observation, factor: _Factor) -> float:
        """Return which part of a whole answer's time was before its first token, in the proportion that the rates expect."""
        rates = self.rates
        prefill = rates.overhead + factor.prefill * (
            rates.per_token * seen.tokens + rates.per_pair * seen.pairs
        )
        token = rates.step + rates.per_sequence * seen.running + rates.per_context_token * seen.context_tokens
        expected = prefill + factor.decode * token * max(0, seen.output_tokens - 1)
        return seen.e2e_seconds * prefill / expected if expected else 0.0

    def _learn_prefill(self, seen: Observation, factor: _Factor, y: float) -> None:
        overhead, per_unit, per_square = self._prefill_fit
        units, squares = seen.tokens / _PREFILL_SCALE[1], seen.pairs / _PREFILL_SCALE[2]
        slow_units, slow_squares = factor.prefill * units, factor.prefill * squares
        predicted = overhead + per_unit * slow_units + per_square * slow_squares
        # Both ways: to leave out only what came late would teach that prefill is ever faster.
        if seen.kv_usage > _PRESSED and not predicted / 2 <= y <= 2 * predicted:
            return
        y = min(max(y, predicted / _SURPRISE), predicted * _SURPRISE)
        weight, beyond = (0.1 + y) ** -2, y - overhead
        # The level alone follows within a few requests, even if the first guess is ten times off; the shape takes longer.
        height = slow_units + slow_squares
        self._level_products = 0.995 * self._level_products + weight * height * beyond
        self._level_squares = 0.995 * self._level_squares + weight * height * height
        level = max(1e-6, (self._level_products + 0.3) / (self._level_squares + 0.3))
        self._prefill.learn((1.0, slow_units, slow_squares), y, weight)
        self._prefill_fit = _, per_unit, per_square = self._prefill.solve(
            (_FIRST_OVERHEAD_SECONDS, level, level), (50.0, 3 / level, 5 / level)
        )
        expected = per_unit * units + per_square * squares
        factor.learn_prefill(weight * expected * max(beyond, 0.1 * expected), weight * expected * expected)

    def _learn_decode(self, seen: Observation, factor: _Factor, y: float) -> None:
        plain = (1.0, seen.running / _DECODE_SCALE[1], seen.context_tokens / _DECODE_SCALE[2])
        x = (factor.decode, factor.decode * plain[1], factor.decode * plain[2])
        predicted = _product(self._decode_fit, x)
        y = min(max(y, predicted / _SURPRISE), predicted * _SURPRISE)
        self._decode.learn(x, y, (0.01 + y) ** -2)
        self._decode_fit = self._decode.solve(_DECODE_PRIOR, _DECODE_PRECISION)
        factor.learn_decode(y / _product(self._decode_fit, plain))

    def _learn_output(self, model: str, tokens: int) -> None:
        # Bounded against clients that invent names; a model that is served gets requests before a thousand others do.
        if model in self._output or len(self._output) < 1000:
            mean = self.output_tokens(model)
            self._output[model] = mean + 0.01 * (tokens - mean)

    def _rates(self) -> Rates:
        prefill, decode = self._prefill_fit, self._decode_fit
        return Rates(
            prefill[0], prefill[1] / _PREFILL_SCALE[1], prefill[2] / _PREFILL_SCALE[2],
            decode[0], decode[1] / _DECODE_SCALE[1], decode[2] / _DECODE_SCALE[2],
        )  # fmt: skip


def _product(first: Vector, second: Vector) -> float:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
