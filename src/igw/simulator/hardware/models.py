"""What decides how many bytes and operations a model needs: its shape.

How long those take on an accelerator is in `roofline` and `calibration`.
"""

from __future__ import annotations

import msgspec

BF16_BYTES = 2


class ModelShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A dense decoder with weights and KV cache in bf16; `hidden_size` values per token cross the network.

    `parameters` counts all of them, with an embedding and an LM head of `hidden_size` x `vocabulary_size` each.
    """

    parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    hidden_size: int
    vocabulary_size: int

    @property
    def weight_bytes(self) -> float:
        """Everything that lies in memory."""
        return self.parameters * BF16_BYTES

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BF16_BYTES

    @property
    def lm_head_parameters(self) -> float:
        """Those every sampled sequence is multiplied with."""
        return float(self.hidden_size * self.vocabulary_size)

    @property
    def linear_parameters(self) -> float:
        """Those every token is multiplied with: without the embedding, which is looked up, and the LM head."""
        return self.parameters - 2 * self.lm_head_parameters


SHAPES = {
    "llama-3.1-8b": ModelShape(8.03e9, 32, 8, 128, 4096, 128_256),
    "qwen3-32b": ModelShape(32.8e9, 64, 8, 128, 5120, 151_936),
    "llama-3.1-70b": ModelShape(70.6e9, 80, 8, 128, 8192, 128_256),
}
"""From each model's configuration file."""
