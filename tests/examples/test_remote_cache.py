"""`examples/remote-cache`: its commands on fewer requests, and what sharing and knowing of it bring."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from igw.cli.main import app

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "remote-cache"


def results(command: str, out: Path) -> dict[str, dict[str, Any]]:
    """Return what a command of the README comes to, by policy, with one seed and fewer requests."""
    words = shlex.split(command.replace("\\\n", " "))[1:]
    assert words[0] == "replay"
    words[words.index("--requests") + 1] = "600"
    words[words.index("--seeds") + 1] = "1"
    done = CliRunner().invoke(app, [*words, "--json", str(out), "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (comparison,) = json.loads(out.read_text())["comparisons"]
    return {each["name"]: each["seeds"][0] for each in comparison["policies"]}


def test_a_shared_cache_brings_hits_and_knowing_of_it_brings_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In virtual time, so the figures are the same everywhere."""
    monkeypatch.chdir(ROOT)
    alone, shared = re.findall(
        r"^```bash\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    without = results(alone, tmp_path / "alone.json")["default"]
    found = results(shared, tmp_path / "shared.json")
    unaware, aware = found["default"], found["examples/remote-cache/picker.yaml"]
    assert unaware["hit_ratio"] > without["hit_ratio"] + 0.05
    assert unaware["ttft"]["mean"] < without["ttft"]["mean"]
    assert aware["hit_ratio"] > unaware["hit_ratio"] - 0.01
    assert aware["ttft"]["p50"] < 0.98 * unaware["ttft"]["p50"]
    assert aware["tpot"]["mean"] < 0.98 * unaware["tpot"]["mean"]
    assert aware["goodput"] > unaware["goodput"] > without["goodput"]
