"""Shapes of the known models."""

from __future__ import annotations

import pytest

from igw.simulator.hardware.models import SHAPES


@pytest.mark.parametrize(("model", "kv_bytes"), [("llama-3.1-8b", 131_072), ("qwen3-32b", 262_144)])
def test_a_token_takes_the_keys_and_values_of_all_layers(model: str, kv_bytes: int) -> None:
    """In bf16."""
    assert SHAPES[model].kv_bytes_per_token == kv_bytes


def test_embedding_and_head_are_no_linear_layers() -> None:
    """A billion of the 8B's parameters are in neither."""
    shape = SHAPES["llama-3.1-8b"]
    assert shape.linear_parameters == pytest.approx(6.98e9, rel=0.01)
    assert shape.weight_bytes == pytest.approx(2 * (shape.linear_parameters + 2 * shape.lm_head_parameters))
