"""Step times and KV memory against the measurements they come from."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Sequence
from igw.simulator.hardware.calibration import ENGINE_OVERHEAD_MS, StepTime, kv_capacity_tokens

MEASURED = Path(__file__).parent / "data" / "vllm_qwen3_32b_tp2_h100.csv"
LLAMA = StepTime.load("llama-3.1-8b", tp=1)


def test_a_decode_step_is_composed_as_documented() -> None:
    """One sequence with 1,000 tokens of context: the first row of the table and the decode coefficients."""
    expected_ms = 5.0105 + 0.4267 + (0.04441 * 1000 + 2.582 + 347.2) / 1e3 + ENGINE_OVERHEAD_MS
    assert LLAMA.seconds([], 1, 1000, 0) == pytest.approx(expected_ms / 1e3)


def test_a_mixed_step_pays_linear_work_once_and_both_attentions() -> None:
    """A chunk of 512 behind 1,000 cached tokens, together with 512 decoding sequences."""
    linear, head = 17.8485, 0.6737 + (0.9401 - 0.6737) / 256  # 1,024 tokens; 513 sampled, between two rows
    decode_us = 0.04441 * 100_000 + 2.582 * 512 + 347.2
    prefill_ms = 0.4942 * (512**2 + 2 * 512 * 1000) / 1e6 + 0.7895
    expected_ms = linear + head + decode_us / 1e3 + prefill_ms + ENGINE_OVERHEAD_MS
    assert LLAMA.seconds([(512, 1000)], 512, 100_000, 1) == pytest.approx(expected_ms / 1e3)


def test_beyond_the_last_row_the_curve_goes_on_along_its_slope() -> None:
    """Twice as far from the last but one row costs twice the difference."""
    last, before = LLAMA.linear.at(16_384), LLAMA.linear.at(12_288)
    assert LLAMA.linear.at(20_480) == pytest.approx(last + (last - before))


@given(st.integers(1, 20_000), st.integers(0, 100_000))
def test_earlier_tokens_never_make_a_chunk_cheaper(new: int, earlier: int) -> None:
    """The same chunk later in a prompt attends to more."""
    assert LLAMA.seconds([(new, earlier + 1)], 0, 0, 1) > LLAMA.seconds([(new, earlier)], 0, 0, 1)


@pytest.mark.parametrize(("model", "tp"), [("gpt-2", 1), ("llama-3.1-8b", 3)])
def test_an_unknown_model_or_parallelism_names_the_known_ones(model: str, tp: int) -> None:
    """The message is what a user of the manifest sees."""
    with pytest.raises(ValueError, match=r"known: llama-3\.1-8b with 1, .*llama-3\.1-70b with 4"):
        StepTime.load(model, tp)


def test_kv_capacity_is_what_real_servers_report() -> None:
    """307,328 tokens were measured for Qwen3-32B on two H100."""
    assert kv_capacity_tokens("qwen3-32b", 2) == pytest.approx(307_328, rel=0.01)


def test_weights_that_do_not_fit_and_unknown_sizes_are_errors() -> None:
    """70B in bf16 needs more than one GPU of 80 GB."""
    with pytest.raises(ValueError, match="raise the tensor parallelism"):
        kv_capacity_tokens("llama-3.1-70b", 1)
    with pytest.raises(ValueError, match=r"known: llama-3\.1-8b"):
        kv_capacity_tokens("gpt-2", 1)


def test_time_per_output_token_is_that_of_real_vllm_within_six_percent() -> None:
    """The engine in virtual time, at fixed concurrency, against 25 measured points of Qwen3-32B on two H100."""
    config = EngineConfig(StepTime.load("qwen3-32b", 2), kv_capacity_tokens("qwen3-32b", 2) // 16)
    with MEASURED.open() as file:
        rows = [
            (int(r["isl"]), int(r["osl"]), int(r["batch_size"]), float(r["silicon_tpot_ms"]) / 1e3)
            for r in csv.DictReader(file)
        ]
    errors = [abs(_tpot_seconds(config, *row[:3]) / row[3] - 1) for row in rows]
    assert len(errors) == 25
    assert sum(errors) / len(errors) < 0.06


def _tpot_seconds(config: EngineConfig, prompt: int, output: int, concurrency: int) -> float:
    """Replace every finished sequence at once, starting from evenly spread progress; mean over 1.5 generations."""
    engine, now, started = Engine(config), 0.0, 0
    first_token: dict[str, float] = {}
    tpots: list[float] = []

    def submit(tokens: int) -> None:
        nonlocal started
        engine.submit(Sequence(str(started), prompt, tokens), now)
        started += 1

    for number in range(concurrency):
        submit(max(2, output * (number + 1) // concurrency))
    while len(tpots) < 1.5 * concurrency:
        step = engine.begin_step(now)
        assert step is not None
        now += step.duration_seconds
        for emission in engine.finish_step(step):
            name = emission.sequence.id
            first_token.setdefault(name, now)
            if emission.reason:
                if int(name) >= concurrency:
                    tpots.append((now - first_token.pop(name)) / (output - 1))
                submit(output)
    return sum(tpots) / len(tpots)
