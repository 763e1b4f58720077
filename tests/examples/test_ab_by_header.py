"""`examples/ab-by-header`: a header chooses the pool, and the answer says which it was."""

from __future__ import annotations

from pathlib import Path

from tests.examples.running import running


def test_each_variant_gets_its_own_requests_and_no_others(tmp_path: Path) -> None:
    """The README's commands, and its program, which says `b`."""
    with running("ab-by-header", tmp_path) as example:
        ask, where = example.code("bash")
        assert "20 a 200 20 b 200" == example.shell(ask)
        assert 'endpoint_name="b-0"' in example.shell(where)
        (program,) = example.code("python")
        assert "b\n" == example.python(program)
        status, _ = example.chat("llama-3.1-8b", [{"role": "user", "content": "no header"}])
        assert 200 == status
        counts = example.picks()
        assert (21, 21) == (counts["a-0"] + counts["a-1"], counts["b-0"] + counts["b-1"])
