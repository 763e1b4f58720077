"""`igw replay` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IGW = [sys.executable, "-m", "igw"]


def replay(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*."""
    return subprocess.run(
        [*IGW, "replay", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_acceptance_example_prints_a_comparison_and_writes_a_page(tmp_path: Path) -> None:
    """With oracles, over three seeds; figures also as JSON."""
    trace = ROOT / "examples" / "traces" / "mooncake_conversation_a.jsonl.gz"
    done = replay(
        "--trace", str(trace), "--requests", "40", "--policy", "round-robin,default", "--seeds", "3",
        "--json", "figures.json", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in (
        "round-robin",
        "default",
        "clairvoyant-greedy",
        "hits, pooled cache",
        "TTFT regret s",
        "3 seeds",
    ):
        assert text in done.stdout.replace("\n", " ")
    assert "…" not in done.stdout
    assert done.stderr == ""
    page = (tmp_path / "replay.html").read_text()
    assert page.startswith("<!doctype html>")
    figures = json.loads((tmp_path / "figures.json").read_text())
    (comparison,) = figures["comparisons"]
    assert len(comparison["policies"][1]["seeds"]) == 3
    assert not figures["partial"]


def test_a_mistake_is_one_sentence_and_exit_status_one(tmp_path: Path) -> None:
    """No traceback; an output that cannot be written is refused before anything runs."""
    for arguments, sentence in (
        (("--trace", "shared-prefix", "--policy", "defualt"), "there is no policy `defualt`"),
        (("--trace", "shared-prefix", "--html", "no/such/folder.html"), "its folder does not exist"),
        (("--trace", "shared-prefix", "--seeds", "0"), "$.seeds"),
    ):
        done = replay(*arguments, folder=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("igw replay: ")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_names_that_can_be_given_are_listed(tmp_path: Path) -> None:
    """Policies, formats, generators, suites."""
    done = replay("--list", folder=tmp_path)
    assert done.returncode == 0
    for text in ("default", "lmetric", "mooncake", "shared-prefix", "suites: policy, loads, stress"):
        assert text in done.stdout


def test_ctrl_c_gives_the_partial_report_marked_as_such(tmp_path: Path) -> None:
    """Exit status 130, and a page that says so."""
    script = (
        "import os, signal\n"
        "from igw.lab import jobs\n"
        "run = jobs.run\n"
        "def interrupted(*a):\n"
        "    if a[1] == 'default':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return run(*a)\n"
        "jobs.run = interrupted\n"
        "from igw.cli.main import app\n"
        "app()\n"
    )
    arguments = [
        "replay", "--trace", "shared-prefix", "--requests", "60", "--jobs", "1", "--policy", "round-robin,default",
        "--seeds", "1",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "Stopped before its end: this report is partial." in done.stdout
    assert "igw replay (partial)" in (tmp_path / "replay.html").read_text()


def test_the_help_shows_every_option_and_an_example() -> None:
    """It needs no trace."""
    done = subprocess.run(
        [*IGW, "replay", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "160"},
    )
    from igw.lab.options import Options

    for name in Options.__struct_fields__:
        assert f"--{name.replace('_', '-')}" in done.stdout, name
    assert "Example: igw replay --trace examples/traces/" in done.stdout
