"""`examples/two-accelerators`: its command, with fewer requests, and who computed them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.examples.running import running


def rows(printed: str) -> dict[str, list[float]]:
    """Return the numbers of the two rows, by what a row begins with."""
    found = {}
    for line in printed.splitlines()[1:]:
        *name, h100, l4, median, p99 = line.replace("%", "").split()
        found[" ".join(name)] = [float(h100), float(l4), float(median), float(p99)]
    return found


def test_the_faster_servers_get_the_more_requests(tmp_path: Path) -> None:
    """In turn each kind computes half; igw learns within a few requests that one is slow, and first tokens come sooner."""
    with running("two-accelerators", tmp_path, "llama-3.1-8b") as example:
        (command,) = example.code("bash")
        assert "--requests 200\n" in command
        here = command.replace("--requests 200", "--requests 80").replace(
            ".venv/bin/python", shlex.quote(sys.executable)
        )
        table = rows(example.run(["bash", "-euo", "pipefail", "-c"], here))
    assert table.keys() == rows(example.code("text")[0]).keys()
    assert [50, 50] == table["in turn"][:2]
    assert table["through igw"][0] >= 70
    assert table["through igw"][3] < table["in turn"][3] / 2
