"""`examples/exact-prefix`: its command, with fewer requests, and what it prints of the two indexes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from tests.examples.running import running


def rows(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each row of the table: share cached, time to first token, and picks by what was known."""
    lines = [re.findall(r"[\w.]+", line) for line in printed.splitlines()[1:] if line.strip()]
    return {name: [float(word) for word in words if word != "ms"] for name, *words in lines}


def test_what_servers_tell_finds_more_of_prompts_cached(tmp_path: Path) -> None:
    """The README's command. The margin is wide: seen were 13 to 20 points."""
    with running("exact-prefix", tmp_path, "llama-3.1-8b") as example:
        (command,) = example.code("bash")
        assert "--requests 300\n" in command
        here = command.replace("--requests 300", "--requests 180")
        table = rows(
            example.run(
                ["bash", "-euo", "pipefail", "-c"],
                here.replace(".venv/bin/python", shlex.quote(sys.executable)),
            )
        )
        assert table.keys() == rows(example.code("text")[0]).keys() == {"approximate", "exact"}

        approximate, exact = table["approximate"], table["exact"]
        assert exact[0] >= approximate[0] + 3
        # Where servers tell, hardly anything is guessed; where they do not, everything.
        assert exact[2] > 0
        assert exact[4] < exact[2] / 2
        assert approximate[2] == approximate[3] == 0 < approximate[4]
