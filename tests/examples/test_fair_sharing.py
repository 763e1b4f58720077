"""`examples/fair-sharing`: its command, with fewer requests, and what it prints of tenants and priorities."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.examples.running import Example, running

_TRIES = 3
"""Times are compared: on a machine that does something else meanwhile a measurement may have to be made again."""


def rows(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each row of the tables, by what the row begins with."""
    found = {}
    for line in filter(None, printed.splitlines()):
        words = line.replace("%", "").split()
        numbers = [word for word in words if word.replace(".", "").isdigit()]
        found[" ".join(words[: len(words) - len(numbers)])] = [float(number) for number in numbers]
    return found


def measured(example: Example) -> dict[str, list[float]]:
    """Run the README's command with fewer requests; return its tables, of which all but the times is checked."""
    (command,) = example.code("bash")
    assert "--requests 100\n" in command
    here = command.replace("--requests 100", "--requests 32")
    table = rows(
        example.run(
            ["bash", "-euo", "pipefail", "-c"], here.replace(".venv/bin/python", shlex.quote(sys.executable))
        )
    )
    assert table.keys() == rows(example.code("text")[0]).keys()
    tenants = [table[name] for name in ("modest", "greedy")]
    assert 128 == sum(finished for _, finished, _, _, _ in tenants)
    assert [0, 0] == [failed for _, _, failed, _, _ in tenants]
    for name in ("critical alone", "critical beside sheddable", "sheddable"):
        assert 0 == table[name][2], name
    assert 32 == table["critical beside sheddable"][1]
    return table


def test_tenants_share_alike_and_critical_requests_do_not_feel_the_others(tmp_path: Path) -> None:
    """The README's command. By arrival the modest tenant would get 9 %, and critical requests would wait for seats: twice as long."""
    with running("fair-sharing", tmp_path, "llama-3.1-8b") as example:
        for left in reversed(range(_TRIES)):
            table = measured(example)
            share = table["modest"][4]
            assert abs(share - 50) <= 0.05 * 50
            alone, beside = (table[f"critical {how}"][4] for how in ("alone", "beside sheddable"))
            if beside <= 1.1 * alone or not left:
                break
        assert beside <= 1.1 * alone
        # And they are not kept out: half of the seats are theirs.
        assert table["sheddable"][1] >= 8
