"""What docs/lab.md prints, run as it is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lab.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if "--suite" not in line  # these take an hour
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works_as_printed(command: str, tmp_path: Path) -> None:
    """From the folder of the source, with the policy of the page beside it; it writes the page with plots."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    [policy] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.py").write_text(policy)
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/igw"
    done = subprocess.run(
        [sys.executable, "-m", "igw", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "wrote replay.html" in done.stdout
    assert "default" in done.stdout


def test_the_page_has_commands() -> None:
    """Or nothing would be tested."""
    assert len(COMMANDS) == 2
