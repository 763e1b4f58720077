"""Laws of the rule that carries measurements over to another accelerator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from igw.simulator.hardware.accelerators import Accelerator, accelerators
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.hardware.models import SHAPES
from igw.simulator.hardware.roofline import Move

H100 = Accelerator.load("H100")
SHAPE = SHAPES["llama-3.1-70b"]
MEASURED = StepTime.load("llama-3.1-70b", 4)
COUNTS = st.integers(1, 20_000)
FACTORS = st.floats(1, 20)


def moved(target: Accelerator, tp: int = 4) -> Move:
    return Move(SHAPE, tp, H100, target)


@given(COUNTS)
def test_moved_to_where_it_was_measured_nothing_changes(count: int) -> None:
    """Both curves, at every count."""
    move = moved(H100)
    assert move.linear(MEASURED.linear).at(count) == pytest.approx(MEASURED.linear.at(count))
    assert move.lm_head(MEASURED.lm_head).at(count) == pytest.approx(MEASURED.lm_head.at(count))


@given(COUNTS, FACTORS, FACTORS, FACTORS)
def test_what_is_slower_in_any_way_is_never_faster(
    count: int, memory: float, compute: float, link: float
) -> None:
    """And by no more than the worst of the ways."""
    slower = Accelerator(
        H100.memory_bytes,
        H100.memory_bytes_per_second / memory,
        H100.bf16_flops_per_second / compute,
        H100.link_bytes_per_second / link,
    )
    ratio = moved(slower).linear(MEASURED.linear).at(count) / MEASURED.linear.at(count)
    # Lines between points may cut the corner at a bend a little.
    assert 0.98 <= ratio <= max(memory, compute, link) * 1.02


def test_one_token_waits_for_memory_and_many_for_compute() -> None:
    """Ten times less of either, on one GPU, where nothing is reduced."""
    shape, curve = SHAPES["llama-3.1-8b"], StepTime.load().linear
    slow_memory = replace(H100, memory_bytes_per_second=H100.memory_bytes_per_second / 10)
    slow_compute = replace(H100, bf16_flops_per_second=H100.bf16_flops_per_second / 10)
    by_memory, by_compute = (Move(shape, 1, H100, each).linear(curve) for each in (slow_memory, slow_compute))
    reading_ms = shape.linear_parameters * 2 / H100.memory_bytes_per_second * 1e3
    assert by_memory.at(1) == pytest.approx(curve.at(1) + 9 * reading_ms)
    assert by_memory.at(16_384) == pytest.approx(curve.at(16_384), rel=0.01)
    assert by_compute.at(1) == pytest.approx(curve.at(1))
    assert by_compute.at(16_384) == pytest.approx(10 * curve.at(16_384), rel=0.02)


def test_a_slow_link_costs_the_bytes_of_two_reductions_a_layer() -> None:
    """Four GPUs send one and a half times the tensor, one way."""
    slow = replace(H100, link_bytes_per_second=H100.link_bytes_per_second / 10)
    sent = 2 * SHAPE.layers * 4096 * SHAPE.hidden_size * 2 * 1.5
    extra_ms = sent / (H100.link_bytes_per_second / 2) * 9 * 1e3
    assert moved(slow).linear(MEASURED.linear).at(4096) == pytest.approx(MEASURED.linear.at(4096) + extra_ms)
    assert moved(slow).lm_head(MEASURED.lm_head) == moved(H100).lm_head(MEASURED.lm_head)


@pytest.mark.parametrize("name", accelerators())
def test_attention_scales_with_bandwidth_or_compute_alone(name: str) -> None:
    """Fixed parts stay."""
    target, derived = accelerators()[name], StepTime.load("llama-3.1-70b", 4, name)
    memory = H100.memory_bytes_per_second / target.memory_bytes_per_second
    compute = H100.bf16_flops_per_second / target.bf16_flops_per_second
    assert derived.us_per_kv_token == pytest.approx(MEASURED.us_per_kv_token * memory)
    assert derived.ns_per_token2 == pytest.approx(MEASURED.ns_per_token2 * compute)
    assert derived.us_fixed_decode == MEASURED.us_fixed_decode
    assert derived.us_fixed_prefill == MEASURED.us_fixed_prefill
