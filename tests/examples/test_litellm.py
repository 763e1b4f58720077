"""`examples/litellm`: the real proxy of LiteLLM in front of `igw up`, as its README shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.running import ROOT, running
from tests.stack.conftest import foreign, free_port

LITELLM = ROOT / "build" / "litellm" / "bin" / "litellm"
EXAMPLE = ROOT / "examples" / "litellm"
README = (EXAMPLE / "README.md").read_text()
KEY = "sk-a-key-that-is-long-enough-to-be-taken-0123456789abcdef"
START_SECONDS = 120.0
"""It imports for 13 s on an idle machine."""


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(not LITELLM.exists(), reason="`make test-litellm` sets LiteLLM up")
def test_chats_pass_litellm_and_igw_whole_and_streamed(tmp_path: Path) -> None:
    """The commands as printed but for ports and key; nothing else is asked for over the network."""
    start, ask = blocks("bash")
    (program,) = blocks("python")
    with running("quickstart", tmp_path) as igw:
        config = tmp_path / "config.yaml"
        config.write_text((EXAMPLE / "config.yaml").read_text().replace("127.0.0.1:8080", igw.up.listener))
        port = str(free_port())
        for before, now in (
            ("sk-$(openssl rand -hex 32)", KEY),
            ("build/litellm/bin/litellm", str(LITELLM)),
            ("examples/litellm/config.yaml", str(config)),
            ("--port 4000", f"--port {port}"),
        ):
            assert before in start
            start = start.replace(before, now)
        with foreign(["bash", "-euc", start], tmp_path, "Uvicorn running on", START_SECONDS) as log:
            environment = {**os.environ, "LITELLM_MASTER_KEY": KEY}
            said = []
            for command in (["bash", "-euc", ask], [sys.executable, "-c", program]):
                command[-1] = command[-1].replace("127.0.0.1:4000", f"127.0.0.1:{port}")
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=False, timeout=60
                )
                assert done.returncode == 0, done.stderr
                said.append(done.stdout)
        whole, streamed = said
        assert '"object":"chat.completion"' in whole
        assert '"completion_tokens":16' in whole
        assert 32 * 4 == len(streamed.rstrip("\n"))
        assert 2 == igw.counts("llm_d_epp_request_total", "model_name")["llama-3.1-8b"]
    text = "\n".join(log.seen)
    assert "huggingface" not in text
    assert "Retrying" not in text


def test_the_readme_has_what_is_run_here() -> None:
    """A changed layout must not turn the test off where LiteLLM is not set up."""
    assert (2, 1) == (len(blocks("bash")), len(blocks("python")))
    assert "pip install --require-hashes -r examples/litellm/requirements.lock" in README
