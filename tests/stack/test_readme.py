"""What the README prints works as printed; only the ports are those of the stack that runs here."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.stack.conftest import Up

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def snippets(language: str) -> list[str]:
    """Return the README's code blocks in *language*."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


def here(code: str, stack: Up) -> str:
    """Return *code* with the default ports replaced by those of *stack*."""
    placed = code.replace("127.0.0.1:8080", stack.listener).replace("127.0.0.1:9090", stack.metrics)
    assert placed != code
    return placed


@pytest.mark.parametrize("code", snippets("bash"))
def test_a_command_works_as_printed(code: str, stack: Up) -> None:
    """It succeeds and prints an answer or a metrics page."""
    done = subprocess.run(
        ["bash", "-euc", here(code, stack)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert ('"chat.completion"' if "chat" in code else "llm_d_epp_request_total") in done.stdout


@pytest.mark.parametrize("code", snippets("python"))
def test_a_program_works_as_printed(code: str, stack: Up) -> None:
    """It prints 32 tokens of four characters."""
    done = subprocess.run(
        [sys.executable, "-c", here(code, stack)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.rstrip("\n")) == 32 * 4


def test_the_curl_that_a_start_prints_works_as_printed(stack: Up) -> None:
    """Ready to paste."""
    (line,) = (line for line in stack.out.seen if line.startswith("  curl "))
    done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, check=False, timeout=30)
    assert '"finish_reason":' in done.stdout, done.stderr


def test_there_is_something_of_each_kind() -> None:
    """A changed layout of the README must not turn these tests off."""
    assert len(snippets("bash")) == 2
    assert len(snippets("python")) == 1


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_a_link_leads_somewhere(target: str) -> None:
    """Files and folders that are named exist."""
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (demo|test|check|\w+)(?=[`\n])", README))))
def test_a_target_of_make_exists(target: str) -> None:
    """What a reader is told to type is there."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
