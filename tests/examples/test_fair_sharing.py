"""`examples/fair-sharing`: its command, with fewer requests, and what it prints of tenants and priorities."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.examples.running import running


def rows(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each row of the tables, by what the row begins with."""
    found = {}
    for line in filter(None, printed.splitlines()):
        words = line.replace("%", "").split()
        numbers = [word for word in words if word.replace(".", "").isdigit()]
        found[" ".join(words[: len(words) - len(numbers)])] = [float(number) for number in numbers]
    return found


def test_a_modest_tenant_keeps_its_share_and_critical_requests_go_first(tmp_path: Path) -> None:
    """The README's command. Margins are wide: by arrival the modest tenant would get 9 %."""
    with running("fair-sharing", tmp_path, "llama-3.1-8b") as example:
        (command,) = example.code("bash")
        assert "--requests 100\n" in command
        here = command.replace("--requests 100", "--requests 40")
        table = rows(
            example.run(
                ["bash", "-euo", "pipefail", "-c"],
                here.replace(".venv/bin/python", shlex.quote(sys.executable)),
            )
        )
        assert table.keys() == rows(example.code("text")[0]).keys()

        _, finished, failed, _, share = table["modest"]
        assert 40 <= share <= 60
        assert 0 == failed
        assert 40 == finished + table["greedy"][1]
        assert 0 == table["greedy"][2]

        for name in ("critical alone", "critical beside sheddable", "sheddable"):
            assert 0 == table[name][2], name
        assert 40 == table["critical beside sheddable"][1]
        # Sheddable requests wait for the others, and four seats are left to sixteen clients.
        assert table["critical beside sheddable"][3] < table["sheddable"][3]
