"""Accelerators that are known, and those of a user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.simulator.hardware.accelerators import Accelerator, accelerators

DOCS = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_every_known_accelerator_names_its_source_and_is_documented() -> None:
    """The four that pools are usually mixed of are among them."""
    assert {"H100", "H200", "A100", "L4"} <= set(accelerators())
    for name, each in accelerators().items():
        assert "datasheet" in each.source
        assert f"`{name}`" in DOCS


def test_beyond_its_balance_an_accelerator_is_bound_by_compute() -> None:
    """About 300 tokens on an H100, fewer where memory is faster."""
    h100, h200 = Accelerator.load("H100"), Accelerator.load("H200")
    assert h100.balance_tokens == pytest.approx(295, abs=1)
    assert h200.balance_tokens < h100.balance_tokens


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h200", "no accelerator 'h200'; did you mean H200\\? known: H100, H200, "),
        ("TPU", "no accelerator 'TPU'; known: H100, .*or a file that ends in .yaml"),
        ("none.yaml", "none.yaml: No such file or directory"),
    ],
)
def test_what_is_not_known_is_an_error_with_a_hint(name: str, message: str) -> None:
    """The nearest name, or all."""
    with pytest.raises(ValueError, match=message):
        Accelerator.load(name)


def test_a_file_describes_another_as_documented(tmp_path: Path) -> None:
    """The documentation's example."""
    [block] = [text for text in DOCS.split("```yaml\n") if text.startswith("# my-gpu.yaml")]
    path = tmp_path / "my-gpu.yaml"
    path.write_text(block.split("```")[0])
    assert Accelerator.load(str(path)) == Accelerator(96e9, 4e12, 148e12, 900e9, "where the figures are from")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memoryBytes: [", "while parsing"),
        ("{memoryBytes: 0, memoryBytesPerSecond: 1, bf16FlopsPerSecond: 1, linkBytesPerSecond: 1}", "> 0.0"),
        ("memoryBytes: 1", "missing required field"),
        ("H100", "Expected `object`"),
    ],
)
def test_a_file_that_describes_none_is_an_error_with_its_path(
    tmp_path: Path, text: str, message: str
) -> None:
    """And what is wrong in it."""
    path = tmp_path / "gpu.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"gpu.json: (?s:.*){message}"):
        Accelerator.load(str(path))


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    """YAML 1.1 takes 4e12 for a string."""
    path = tmp_path / "gpu.yaml"
    path.write_text(
        "{memoryBytes: 96e9, memoryBytesPerSecond: 4e12, bf16FlopsPerSecond: 1e14, linkBytesPerSecond: 9e11}"
    )
    assert Accelerator.load(str(path)).memory_bytes_per_second == 4e12
