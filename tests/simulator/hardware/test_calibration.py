"""Step times and KV memory against the measurements they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.hardware.calibration import ENGINE_OVERHEAD_MS, StepTime, kv_capacity_tokens

DOCS = Path(__file__).parents[3] / "docs" / "simulator.md"
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


def test_a_step_that_only_decodes_is_looked_up_with_the_same_result() -> None:
    """The table and the formula, within its bounds and beyond them."""
    for count in (1, 7, 256, 1024, 1025, 3000):
        us = LLAMA.us_per_kv_token * 100 * count + LLAMA.us_per_seq * count + LLAMA.us_fixed_decode
        expected_ms = ENGINE_OVERHEAD_MS + LLAMA.linear.at(count) + LLAMA.lm_head.at(count) + us / 1e3
        assert LLAMA.seconds([], count, 100 * count, 0) == pytest.approx(expected_ms / 1e3)


def test_an_accelerator_without_measurements_is_derived() -> None:
    """It keeps its name, and differs where the datasheets do."""
    h200, l4 = (StepTime.load("llama-3.1-8b", 1, name) for name in ("H200", "L4"))
    assert (h200.accelerator, l4.accelerator) == ("H200", "L4")
    assert h200.seconds([], 64, 64_000, 0) < LLAMA.seconds([], 64, 64_000, 0) < l4.seconds([], 64, 64_000, 0)
    prompt_seconds = LLAMA.seconds([(8192, 0)], 0, 0, 1)
    assert h200.seconds([(8192, 0)], 0, 0, 1) == pytest.approx(prompt_seconds, rel=0.01)
    assert l4.seconds([(8192, 0)], 0, 0, 1) > 8 * prompt_seconds


def test_kv_capacity_grows_with_the_accelerators_memory() -> None:
    """The same weights leave much more room in an H200, and little in an L4."""
    l4, h100, h200 = (kv_capacity_tokens("llama-3.1-8b", 1, name) for name in ("L4", "H100", "H200"))
    assert 8_192 < l4 < 16_384 < h100 < h200
    with pytest.raises(ValueError, match="does not fit on 4 L4: raise the tensor parallelism"):
        kv_capacity_tokens("llama-3.1-70b", 4, "L4")


def test_an_unknown_accelerator_is_an_error_for_both() -> None:
    """With the nearest name."""
    for load in (StepTime.load, kv_capacity_tokens):
        with pytest.raises(ValueError, match=r"no accelerator 'h10'; did you mean H100\? known: H100, H200"):
            load("llama-3.1-8b", 1, "h10")


def test_own_measurements_come_from_a_file_as_documented(tmp_path: Path) -> None:
    """The documentation's example, on the accelerator where it was measured and on another."""
    path = tmp_path / "my-model.yaml"
    path.write_text(documented("my-model.yaml"))
    mine = StepTime.load(str(path), 1)
    assert (mine.model, mine.linear.at(2048), mine.us_fixed_prefill) == ("my-model", 35.9, 790)
    assert StepTime.load(str(path), 1, "A100").us_per_kv_token == pytest.approx(0.0444 * 3.35 / 2.039)
    assert kv_capacity_tokens(str(path), 1) == kv_capacity_tokens("llama-3.1-8b", 1)


def test_own_measurements_are_refused_with_a_reason(tmp_path: Path) -> None:
    """Another parallelism, a curve that goes back, a field that does not exist, no file."""
    path = tmp_path / "my-model.yaml"
    path.write_text(documented("my-model.yaml"))
    with pytest.raises(ValueError, match="was measured with tensor parallelism 1, not 2; set it to 1"):
        StepTime.load(str(path), 2)
    path.write_text(documented("my-model.yaml").replace("[1, 256, 2048, 8192]", "[1, 256, 256, 8192]"))
    with pytest.raises(
        ValueError, match=r"my-model\.yaml: the counts of a curve must rise - at `\$\.linear`"
    ):
        StepTime.load(str(path), 1)
    path.write_text(documented("my-model.yaml").replace("usPerSeq", "usPerSequence"))
    with pytest.raises(ValueError, match=r"my-model\.yaml: .*usPerSequence"):
        StepTime.load(str(path), 1)
    with pytest.raises(ValueError, match=r"none\.yaml: No such file"):
        StepTime.load(str(tmp_path / "none.yaml"), 1)


def documented(name: str) -> str:
    """Return the file of that name as printed in the documentation."""
    [block] = [text for text in DOCS.read_text().split("```yaml\n") if text.startswith(f"# {name}\n")]
    return block.split("```")[0]
