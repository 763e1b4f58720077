"""`examples/two-models`: names in bodies, one address, two pools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.examples.running import running

LLAMA, QWEN = ["llama-3.1-8b", "food-review", "travel-helper"], ["qwen3-32b", "ski-resorts"]


def test_each_model_is_listed_and_served_by_its_own_pool(tmp_path: Path) -> None:
    """The README from top to bottom."""
    with running("two-models", tmp_path, LLAMA[0]) as example:
        assert "2 × llama-3.1-8b, 2 × qwen3-32b at 127.0.0.1:" in "\n".join(example.up.out.seen)
        models, ask, where, nobody = example.code("bash")
        assert [*LLAMA, *QWEN] == example.shell(models).split()
        assert " ".join(f'"model":"{name}"' for name in [*LLAMA, *QWEN]) == example.shell(ask)
        pools: Counter[str] = Counter()
        for server, count in example.picks().items():
            pools[server.rpartition("-")[0]] += count
        assert Counter(llama=3, qwen=2) == pools
        assert 'endpoint_name="qwen-' in example.shell(where)
        error = json.loads(example.shell(nobody))["error"]
        assert ("model_not_found", "model") == (error["code"], error["param"])
        assert "`gpt-none`" in error["message"]
        (program,) = example.code("python")
        said = [line.split()[:3] for line in example.python(program).splitlines()]
        wanted = [[name, "of", LLAMA[0]] for name in LLAMA] + [[name, "of", QWEN[0]] for name in QWEN]
        assert wanted == said
