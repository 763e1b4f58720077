"""How long a step of a real engine takes, and how much KV memory it has, from measured data.

Scheduling does not belong here: this module only prices a step that somebody else composed.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from importlib.resources import files

import msgspec

ENGINE_OVERHEAD_MS = 1.2
"""Per step, beside the kernels; the only constant that was fitted to end-to-end measurements."""

FRONTEND_SECONDS = 0.020
"""HTTP, tokenisation and hand-over to the engine: added once, before a request reaches the scheduler."""

_H100_BYTES = 85.9e9
_MEMORY_UTILIZATION = 0.9
_ACTIVATIONS_BYTES = 4e9
_BF16_BYTES = 2


class Curve(msgspec.Struct, frozen=True):
    """Milliseconds by a count, from measured points with rising `counts` (at least two)."""

    counts: tuple[int, ...]
    milliseconds: tuple[float, ...]

    def at(self, count: int) -> float:
        """Interpolate linearly; level before the first point, along the last slope after the last."""
        counts, values = self.counts, self.milliseconds
        if count <= counts[0]:
            return values[0]
        right = min(bisect_right(counts, count), len(counts) - 1)
        left = right - 1
        slope = (values[right] - values[left]) / (counts[right] - counts[left])
        return values[left] + slope * (count - counts[left])


class StepTime(msgspec.Struct, frozen=True):
    """Prices one engine step of one model on `tensor_parallel` H100 GPUs."""

    model: str
    tensor_parallel: int
    linear: Curve
    lm_head: Curve
    us_per_kv_token: float
    us_per_seq: float
    us_fixed_decode: float
    ns_per_token2: float
    us_fixed_prefill: float

    @classmethod
    def load(cls, model: str = "llama-3.1-8b", tp: int = 1) -> StepTime:
        """Read the packaged measurements; a ValueError names the known pairs when there are none for this one."""
        attention = {(row["model"], int(row["tp"])): row for row in _rows("steptime_attention.csv")}
        row = attention.get((model, tp))
        if row is None:
            known = ", ".join(f"{name} with {count}" for name, count in attention)
            raise ValueError(f"no calibration for {model!r} with tensor parallelism {tp}; known: {known}")
        steps = [r for r in _rows("steptime_linear.csv") if (r["model"], int(r["tp"])) == (model, tp)]
        tokens = tuple(int(r["tokens"]) for r in steps)
        return cls(
            model=model,
            tensor_parallel=tp,
            linear=Curve(tokens, tuple(float(r["ms_linear"]) for r in steps)),
            lm_head=Curve(tokens, tuple(float(r["ms_lm_head"]) for r in steps)),
            us_per_kv_token=float(row["us_per_kv_token"]),
            us_per_seq=float(row["us_per_seq"]),
            us_fixed_decode=float(row["us_fixed_decode"]),
            ns_per_token2=float(row["ns_per_token2"]),
            us_fixed_prefill=float(row["us_fixed_prefill"]),
        )

    def seconds(
        self,
        prefill: Sequence[tuple[int, int]],
        decode_sequences: int,
        decode_kv_tokens: int,
        finished_prefills: int,
    ) -> float:
        """Return the duration of a step.

        `prefill` has one `(new_tokens, earlier_tokens)` per chunk, earlier ones being cached or computed before;
        `decode_kv_tokens` is the context of all decoding sequences together; `finished_prefills` counts the chunks
        that reach the end of their prompt and so sample a token.
        """
        new_tokens = sum(new for new, _ in prefill)
        ms = ENGINE_OVERHEAD_MS + self.linear.at(new_tokens + decode_sequences)
        ms += self.lm_head.at(decode_sequences + finished_prefills)
        if decode_sequences:
            us = self.us_per_kv_token * decode_kv_tokens + self.us_per_seq * decode_sequences
            ms += (us + self.us_fixed_decode) / 1e3
        if prefill:
            pairs = sum(new * (new + 2 * earlier) for new, earlier in prefill)
            ms += self.ns_per_token2 * pairs / 1e6 + self.us_fixed_prefill / 1e3
        return ms / 1e3


class ModelShape(msgspec.Struct, frozen=True):
    """What decides the size of a model's weights and of its KV cache."""

    parameters: float
    layers: int
    kv_heads: int
    head_dim: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of all layers, in bf16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * _BF16_BYTES


SHAPES = {
    "llama-3.1-8b": ModelShape(8.03e9, 32, 8, 128),
    "qwen3-32b": ModelShape(32.8e9, 64, 8, 128),
    "llama-3.1-70b": ModelShape(70.6e9, 80, 8, 128),
}


def kv_capacity_tokens(model: str, tp: int) -> int:
    """Return how many tokens of KV cache fit beside bf16 weights on `tp` H100 of 80 GB; ValueError when none do."""
    shape = SHAPES.get(model)
    if shape is None:
        raise ValueError(f"the size of {model!r} is not known; known: {', '.join(SHAPES)}")
    usable = _MEMORY_UTILIZATION * tp * _H100_BYTES - shape.parameters * _BF16_BYTES - _ACTIVATIONS_BYTES * tp
    if usable < shape.kv_bytes_per_token:
        raise ValueError(f"{model} does not fit on {tp} GPU(s): raise the tensor parallelism")
    return int(usable / shape.kv_bytes_per_token)


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (files("igw.simulator.hardware") / "data" / name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)
