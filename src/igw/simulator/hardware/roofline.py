"""The rule that carries step times measured on one accelerator over to another.

Each part of a step is bound by one thing, and scales with it:

- Linear layers and LM head read every weight once and do two operations per weight and token: they take the longer
  of weights / memory bandwidth and operations / FLOP/s. The measured curve is scaled by the ratio of these two
  rooflines at the same number of tokens, so kernels are taken to be as efficient there as here.
- What a step of one token takes beyond reading the weights (starting kernels, norms, the latency of collectives) is
  bound by neither. It stays as measured, and is part of every step.
- The bytes of the tensor-parallel all-reduces (two per layer) move at the speed of the link.
- Decode attention reads the KV cache: memory bandwidth. Prefill attention multiplies: FLOP/s.
- Fixed costs of attention kernels and the engine's own overhead stay as measured.

The coefficients themselves are in `calibration`. Clocks that drop under power limits are not modelled.
"""

from __future__ import annotations

import msgspec

from igw.simulator.hardware.accelerators import Accelerator
from igw.simulator.hardware.curve import Curve
from igw.simulator.hardware.models import BF16_BYTES, ModelShape


class Move(msgspec.Struct, frozen=True):
    """A model on `tensor_parallel` devices of `source`, where it was measured, and on as many of `target`."""

    shape: ModelShape
    tensor_parallel: int
    source: Accelerator
    target: Accelerator

    @property
    def memory_factor(self) -> float:
        """By how much longer the target takes to read the same bytes."""
        return self.source.memory_bytes_per_second / self.target.memory_bytes_per_second

    @property
    def compute_factor(self) -> float:
        """By how much longer the target takes for the same operations."""
        return self.source.bf16_flops_per_second / self.target.bf16_flops_per_second

    def linear(self, measured: Curve) -> Curve:
        """Return the linear layers' curve of the target."""
        return self._moved(measured, self.shape.linear_parameters, reduced=True)

    def lm_head(self, measured: Curve) -> Curve:
        """Return the LM head's curve of the target."""
        return self._moved(measured, self.shape.lm_head_parameters, reduced=False)

    def _moved(self, measured: Curve, parameters: float, *, reduced: bool) -> Curve:
        here, there = self.source, self.target
        fixed = max(0.0, measured.at(1) - self._roof_ms(here, parameters, 1))

        def at(count: int) -> float:
            link_here, link_there = (self._link_ms(each, count) * reduced for each in (here, there))
            ratio = self._roof_ms(there, parameters, count) / self._roof_ms(here, parameters, count)
            return fixed + max(0.0, measured.at(count) - fixed - link_here) * ratio + link_there

        # Where either device turns from bandwidth to compute the curve bends, and lines are drawn between points.
        bends = {round(here.balance_tokens), round(there.balance_tokens)}
        counts = sorted(bends.union(measured.counts))
        return Curve(tuple(counts), tuple(at(count) for count in counts))

    def _roof_ms(self, device: Accelerator, parameters: float, tokens: int) -> float:
        share = parameters / self.tensor_parallel
        reading = share * BF16_BYTES / device.memory_bytes_per_second
        return max(reading, 2 * share * tokens / device.bf16_flops_per_second) * 1e3

    def _link_ms(self, device: Accelerator, tokens: int) -> float:
        # A ring all-reduce sends 2 (n - 1) / n of the tensor; each direction has half of the link.
        others = self.tensor_parallel - 1
        sent = 2 * self.shape.layers * tokens * self.shape.hidden_size * BF16_BYTES
        return sent * 2 * others / self.tensor_parallel / (device.link_bytes_per_second / 2) * 1e3
