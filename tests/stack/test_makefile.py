"""What `make` says when it cannot set up, and that a second set-up does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a folder with what `make setup` reads."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def python(folder: Path, body: str) -> Path:
    """Write a script that answers for `python3`."""
    script = folder / "bin" / "python3"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return script


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make there, finding the folder's own `python3` first; no file and flag of an outer make is inherited."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")
    }
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence make ended with."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith(".  Stop.")
    return line.split(" *** ")[1].removesuffix(".  Stop.")


def test_an_old_python_is_told_by_version_and_with_the_cure(clone: Path) -> None:
    """One sentence, no traceback, nothing made."""
    python(clone, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    assert refusal(make(clone, "setup")) == (
        "igw needs Python 3.11 or newer and 'python3' is Python 3.9.2: name a newer one with PYTHON=/path/to/python3"
    )
    assert not (clone / ".venv").exists()


def test_a_python_without_venv_is_told_with_the_package_to_install(clone: Path) -> None:
    """Debian splits ensurepip off; so may others."""
    python(clone, 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    assert refusal(make(clone, "test")) == (
        "'python3' cannot make virtual environments: install its venv module "
        "(on Debian and Ubuntu: apt install python3-venv)"
    )


def test_a_python_that_is_not_there_is_told_by_name(clone: Path) -> None:
    """The name is the one the user gave."""
    assert refusal(make(clone, "demo", "PYTHON=/nowhere/python4")) == (
        "igw needs Python 3.11 or newer and there is no '/nowhere/python4' here: "
        "install it or name one with PYTHON=/path/to/python3"
    )


def test_the_python_that_runs_this_has_no_obstacle(clone: Path) -> None:
    """The checks pass where they should; the commands that follow are the set-up's."""
    planned = make(clone, "--dry-run", "setup", f"PYTHON={sys.executable}")
    assert planned.returncode == 0, planned.stderr
    assert f"'{sys.executable}' -m venv .venv" in planned.stdout
    assert "--require-hashes -r requirements.lock" in planned.stdout
    assert "--no-deps --no-build-isolation --editable ." in planned.stdout


def test_a_second_set_up_does_nothing_until_the_lock_changes(clone: Path) -> None:
    """The stamp is what makes it instant."""
    ready = clone / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    assert "pip install" not in make(clone, "--dry-run", "setup").stdout
    newer = ready.stat().st_mtime + 10
    os.utime(clone / "requirements.lock", (newer, newer))
    assert "pip install" in make(clone, "--dry-run", "setup").stdout


def test_make_alone_lists_every_target(clone: Path) -> None:
    """Somebody who types `make` learns what there is."""
    listed = [line.split()[1] for line in make(clone).stdout.splitlines()]
    assert listed == [
        "help", "setup", "demo", "test", "test-litellm", "test-vllm", "test-observability", "chromium", "kube", "test-kube", "manifests", "lint", "check",
        "bench", "lock", "clean",
    ]  # fmt: skip
