"""`docs/clients.md`: its programs run as printed beside the quickstart, and its table of errors is the SDKs' own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2 as httpx
import openai
import pytest

from tests.examples.running import ROOT, Example, running

PAGE = (ROOT / "docs" / "clients.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """Give one running quickstart to all programs."""
    with running("quickstart", tmp_path_factory.mktemp("clients")) as example:
        yield example


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (PROGRAMS[0], r"\['llama-3.1-8b'\]\n(.*\n)+CompletionUsage\(completion_tokens=8.*\n.{32}\n1024\n"),
        (PROGRAMS[1], r".{12}\n\d{2,4}\n"),
        (PROGRAMS[2], r"\d+\n.{32}\n"),
    ],
    ids=["texts", "sound and pictures", "anthropic"],
)
def test_a_program_works_as_printed(quickstart: Example, program: str, said: str) -> None:
    """It prints what its lines ask for."""
    printed = quickstart.python(program)
    assert re.fullmatch(said, printed), printed


def test_every_program_is_run() -> None:
    """One more on the page needs one more here."""
    assert 3 == len(PROGRAMS)


@pytest.mark.parametrize(
    ("client", "column"),
    [
        (openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1"), 2),
        (anthropic.Anthropic(api_key="none", base_url="http://127.0.0.1:1"), 3),
    ],
    ids=["openai", "anthropic"],
)
def test_the_table_names_what_is_raised(client: Any, column: int) -> None:
    """For each status the SDK's own class."""
    rows = [line.split("|") for line in PAGE.splitlines() if re.match(r"\| \d{3} ", line)]
    assert 6 == len(rows)
    for row in rows:
        response = httpx.Response(int(row[1]), request=httpx.Request("POST", "http://127.0.0.1:1"))
        raised = client._make_status_error("", body=None, response=response)
        assert row[column].strip() == f"`{type(raised).__name__}`"


def test_addresses_are_those_of_the_quickstart() -> None:
    """So that a copied line works."""
    gateway = (ROOT / "examples" / "quickstart" / "gateway.yaml").read_text()
    assert "port: 8080" in gateway
    assert set(re.findall(r"http://[\d.]+:\d+", PAGE)) == {"http://127.0.0.1:8080"}
