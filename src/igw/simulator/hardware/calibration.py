"""How long a step of a real engine takes, and how much KV memory it has, from measured data.

Scheduling does not belong here: this module only prices a step that somebody else composed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import msgspec

from igw.simulator.hardware.accelerators import SUFFIXES, Accelerator, from_file
from igw.simulator.hardware.curve import Curve
from igw.simulator.hardware.models import SHAPES, ModelShape
from igw.simulator.hardware.roofline import Move

ENGINE_OVERHEAD_MS = 1.2
"""Per step, beside the kernels; the only constant that was fitted to end-to-end measurements."""

FRONTEND_SECONDS = 0.020
"""HTTP, tokenisation and hand-over to the engine: added once, before a request reaches the scheduler."""

MEASURED_ON = "H100"
"""The accelerator (SXM5, 80 GB) that the packaged tables are from."""

_MEMORY_UTILIZATION = 0.9
_ACTIVATIONS_BYTES = 4e9
_TABLE_SEQUENCES = 1024


class StepTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", dict=True):
    """Prices one engine step of one model on `tensor_parallel` devices of `accelerator`.

    `linear` is what a step takes without attention, by tokens in it; `lm_head` is by sampled sequences. The
    coefficients, in the units they are named for, are of attention: decoding reads `us_per_kv_token` and pays
    `us_per_seq` and a fixed part; a prefill chunk pays `ns_per_token2` per pair of tokens and a fixed part.
    """

    model: str
    accelerator: str
    tensor_parallel: int
    shape: ModelShape
    linear: Curve
    lm_head: Curve
    us_per_kv_token: float
    us_per_seq: float
    us_fixed_decode: float
    ns_per_token2: float
    us_fixed_prefill: float

    @classmethod
    def load(cls, model: str = "llama-3.1-8b", tp: int = 1, accelerator: str = MEASURED_ON) -> StepTime:
        """Return what *model*, known or measured in the file of that path, takes on *tp* of *accelerator*.

        Where it was measured on another accelerator it is derived by `roofline`. A ValueError names the known models,
        or the known accelerators.
        """
        target = Accelerator.load(accelerator)
        measured = from_file(Path(model), cls) if model.endswith(SUFFIXES) else _packaged(model, tp)
        if measured.tensor_parallel != tp:
            found = measured.tensor_parallel
            raise ValueError(
                f"{model} was measured with tensor parallelism {found}, not {tp}; set it to {found}"
            )
        source = Accelerator.load(measured.accelerator)
        return measured if source == target else measured._on(accelerator, source, target)

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
        if not prefill and decode_sequences <= _TABLE_SEQUENCES:
            return self._decode_seconds[decode_sequences] + self._seconds_per_kv_token * decode_kv_tokens
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

    @cached_property
    def _decode_seconds(self) -> tuple[float, ...]:
        """A step of n decoding sequences without their context, because most steps are such."""
        return tuple(
            (ENGINE_OVERHEAD_MS + self.linear.at(count) + self.lm_head.at(count)) / 1e3
            + (self.us_per_seq * count + self.us_fixed_decode) * bool(count) / 1e6
            for count in range(_TABLE_SEQUENCES + 1)
        )

    @cached_property
    def _seconds_per_kv_token(self) -> float:
        return self.us_per_kv_token / 1e6

    def _on(self, name: str, source: Accelerator, target: Accelerator) -> StepTime:
        move = Move(self.shape, self.tensor_parallel, source, target)
        return msgspec.structs.replace(
            self,
            accelerator=name,
            linear=move.linear(self.linear),
            lm_head=move.lm_head(self.lm_head),
            us_per_kv_token=self.us_per_kv_token * move.memory_factor,
            us_per_seq=self.us_per_seq * move.memory_factor,
            ns_per_token2=self.ns_per_token2 * move.compute_factor,
        )


def kv_capacity_tokens(model: str, tp: int, accelerator: str = MEASURED_ON) -> int:
    """Return how many tokens of KV cache fit beside bf16 weights on *tp* of *accelerator*; ValueError when none do.

    A tenth of the memory is left alone, as vLLM does by default, and 4 GB per device are for activations and graphs.
    """
    if model.endswith(SUFFIXES):
        shape: ModelShape | None = from_file(Path(model), StepTime).shape
    else:
        shape = SHAPES.get(model)
    if shape is None:
        raise ValueError(f"the size of {model!r} is not known; known: {', '.join(SHAPES)}")
    memory = _MEMORY_UTILIZATION * Accelerator.load(accelerator).memory_bytes - _ACTIVATIONS_BYTES
    usable = memory * tp - shape.weight_bytes
    if usable < shape.kv_bytes_per_token:
        raise ValueError(f"{model} does not fit on {tp} {accelerator}: raise the tensor parallelism")
    return int(usable / shape.kv_bytes_per_token)


def _packaged(model: str, tp: int) -> StepTime:
    attention = {(row["model"], int(row["tp"])): row for row in _rows("steptime_attention.csv")}
    row = attention.get((model, tp))
    if row is None:
        known = ", ".join(f"{name} with {count}" for name, count in attention)
        raise ValueError(f"no calibration for {model!r} with tensor parallelism {tp}; known: {known}")
    steps = [r for r in _rows("steptime_linear.csv") if (r["model"], int(r["tp"])) == (model, tp)]
    tokens = tuple(int(r["tokens"]) for r in steps)
    return StepTime(
        model=model,
        accelerator=MEASURED_ON,
        tensor_parallel=tp,
        shape=SHAPES[model],
        linear=Curve(tokens, tuple(float(r["ms_linear"]) for r in steps)),
        lm_head=Curve(tokens, tuple(float(r["ms_lm_head"]) for r in steps)),
        us_per_kv_token=float(row["us_per_kv_token"]),
        us_per_seq=float(row["us_per_seq"]),
        us_fixed_decode=float(row["us_fixed_decode"]),
        ns_per_token2=float(row["ns_per_token2"]),
        us_fixed_prefill=float(row["us_fixed_prefill"]),
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (files("igw.simulator.hardware") / "data" / name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)
