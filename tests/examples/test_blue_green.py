"""`examples/blue-green`: weights that are edited under load; what arrives where before, during and after."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from tests.examples.running import Example, running, under_load

MODEL = "llama-3.1-8b"


def pools(example: Example) -> Counter[str]:
    """Return how many requests each pool has got."""
    total: Counter[str] = Counter()
    for server, count in example.picks().items():
        total[server.rpartition("-")[0]] += count
    return total


def test_traffic_moves_and_comes_back_and_no_request_is_lost(tmp_path: Path) -> None:
    """The README from top to bottom, with other clients asking all the time while weights change."""
    with running("blue-green", tmp_path) as example:
        ask, where, canary, switch, back = example.code("bash")
        assert "40 200" == example.shell(ask)
        assert Counter(blue=40) == pools(example)
        assert 'endpoint_name="blue-0"' in example.shell(where)

        with under_load(example, MODEL) as seen:
            example.edit(canary)
        assert {200} == set(seen)
        before = pools(example)
        for _ in range(4):
            assert "40 200" == example.shell(ask)
        got = pools(example) - before
        # 160 draws at one tenth: fewer than 2 or more than 40 come once in a million runs.
        assert 160 == got.total()
        assert 2 <= got["green"] <= 40

        # An answer that has begun at blue ends there, after green has taken over.
        answers: list[tuple[int, bytes]] = []
        long = {"stream": True, "max_tokens": 150}

        def listen() -> None:
            answers.append(example.chat(MODEL, [{"role": "user", "content": "long"}], **long))

        for command, side in ((switch, "green"), (back, "blue")):
            listener = threading.Thread(target=listen)
            with under_load(example, MODEL) as seen:
                listener.start()
                example.edit(command)
            listener.join()
            assert {200} == set(seen)
            before = pools(example)
            assert "40 200" == example.shell(ask)
            assert Counter({side: 40}) == pools(example) - before
        assert all(status == 200 and body.endswith(b"data: [DONE]\n\n") for status, body in answers)
        assert 2 == len(answers)
