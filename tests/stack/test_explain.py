"""The README's request, then why: through Envoy, the picker, its metrics port and the command line, as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.stack.conftest import Up

README = (Path(__file__).parents[2] / "README.md").read_text()


def explain(stack: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what `igw explain` says."""
    command = [sys.executable, "-P", "-m", "igw", "explain", *arguments, "--url", f"http://{stack.metrics}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_readmes_request_is_explained_by_the_id_that_curl_shows(stack: Up) -> None:
    """And by the picker's own, which a client that asks is told with a reason."""
    (curl,) = re.findall(r"^curl -s http.*?^```$", README, re.DOTALL | re.MULTILINE)
    command = curl.removesuffix("```").replace("127.0.0.1:8080", stack.listener)
    command = command.replace("curl -s", "curl -si -H 'x-igw-explain: true'")
    sent = subprocess.run(
        ["bash", "-euc", command], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    headers = dict(re.findall(r"^([\w-]+): (.*?)\r?$", sent, re.MULTILINE))
    assert '"chat.completion"' in sent
    told = explain(stack, headers["x-request-id"])
    assert told.returncode == 0, told.stderr
    sentence = told.stdout.splitlines()[0]
    assert re.match(r"sim-\d, (because it would|which would) add [\d.]+ m?s", sentence)
    assert headers["x-igw-decision"] in sentence
    for word in ("picked", "decode", "retry 1", "status 200", "model llama-3.1-8b"):
        assert word in told.stdout
    assert explain(stack, headers["x-igw-decision-id"]).stdout.splitlines()[0] == sentence
    assert explain(stack, "--last").stdout.splitlines()[0] == sentence


def test_a_client_that_does_not_ask_is_told_nothing(stack: Up) -> None:
    """And cannot make Envoy say what the picker did not."""
    command = ["curl", "-si", f"http://{stack.listener}/v1/models", "-H", "x-igw-decision: me"]
    sent = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    assert "HTTP/1.1 200" in sent
    assert "x-igw-decision" not in sent


def test_an_id_that_is_not_known_is_an_error_with_a_cure(stack: Up) -> None:
    """One sentence."""
    done = explain(stack, "nothing-of-the-kind")
    assert done.returncode == 1
    assert done.stderr.startswith("igw explain: no decision 'nothing-of-the-kind'")
    assert "`igw explain` without an id lists them" in done.stderr
