"""Plugins of others: the example of the documentation, installed as a package would be, and packages that are broken."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from igw.config.documents import written
from igw.errors import ConfigError
from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling import configured
from igw.scheduling.scheduler import Scheduler

PAGE = (Path(__file__).parents[2] / "docs" / "picker-config.md").read_text()
HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
REQUEST = Request(Head("/v1/completions", "POST", {}))

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return what makes a package with one module and the entry points of a pyproject.toml visible."""
    before = set(sys.modules)

    def put(code: str, toml: str) -> None:
        project = tomllib.loads(toml)["project"]
        points = project["entry-points"]["igw.plugins"]
        for value in points.values():
            (tmp_path / f"{value.partition(':')[0]}.py").write_text(code)
        info = tmp_path / "mine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[igw.plugins]\n{lines}")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield put
    for name in set(sys.modules) - before:
        del sys.modules[name]


def block(language: str) -> str:
    """Return the page's only code block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(text)


def made(plugins: str) -> Scheduler:
    """Return the scheduler of a file with *plugins*."""
    (document,) = written(f"{HEAD}plugins: {plugins}", "file")
    return configured.scheduler(document)


def facts(*usage: float) -> Facts:
    """Return facts of endpoints with that share of their KV memory in use."""
    zero = np.zeros(len(usage))
    return Facts(zero, zero, np.array(usage), zero, zero)


def test_the_example_of_the_page_is_a_plugin(install: Install) -> None:
    """As printed: found by its type, its fields are parameters, its scores count."""
    install(block("python"), block("toml"))
    scheduler = made("[{type: roomiest-scorer, parameters: {most: 0.9}}]")
    choice = scheduler.pick(REQUEST, facts(0.8, 0.2, 0.95))
    assert choice.picked[0] == 1
    assert choice.scores["roomiest-scorer"].tolist() == pytest.approx([0.1, 0.7, 0.0])


def test_the_example_is_short() -> None:
    """Ten lines of code."""
    assert len([line for line in block("python").splitlines() if line]) <= 10


def test_its_parameters_are_strict(install: Install) -> None:
    """As those of any other plugin."""
    install(block("python"), block("toml"))
    with pytest.raises(ConfigError, match=r"there is no field `mst` \(did you mean most\?\)"):
        made("[{type: roomiest-scorer, parameters: {mst: 0.9}}]")


def test_a_misspelt_type_of_somebody_elses_is_found_too(install: Install) -> None:
    """The nearest known name is one of theirs."""
    install(block("python"), block("toml"))
    with pytest.raises(ConfigError, match=r"did you mean roomiest-scorer\?"):
        made("[{type: romiest-scorer}]")


PRODUCERS = """
import msgspec
class Weather(msgspec.Struct, frozen=True):
    type = "weather-producer"
    provides = ("Weather",)
    def produce(self, request, facts):
        return {"Weather": "rain"}
class Mood(msgspec.Struct, frozen=True):
    type = "mood-producer"
    needs = ("Weather",)
    provides = ("Mood",)
    def produce(self, request, facts):
        return {"Mood": "low"}
"""
POINTS = """
[project.entry-points."igw.plugins"]
weather-producer = "weather:Weather"
mood-producer = "weather:Mood"
"""


def test_producers_of_others_are_put_in_order(install: Install) -> None:
    """By the facts they name; a fact that nobody provides is an error with its place."""
    install(PRODUCERS, POINTS)
    levels = made("[{type: mood-producer}, {type: weather-producer}]").plugins.producers
    assert [each.name for (each,) in levels] == ["weather-producer", "mood-producer"]
    with pytest.raises(ConfigError, match="`mood-producer` needs the fact `Weather`") as caught:
        made("[{type: mood-producer}]")
    assert caught.value.where.endswith("$.plugins[0].type")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", "cannot be loaded: No module named"),
        ("Broken = 3", "is not a msgspec.Struct"),
        (
            "import msgspec\nclass Broken(msgspec.Struct):\n    x: int = 1",
            "has none of the methods keep, score",
        ),
        ("", "cannot be loaded: module 'broken' has no attribute 'Broken'"),
    ],
)
def test_a_package_that_is_broken_is_told_where_it_is_used(install: Install, code: str, said: str) -> None:
    """And nowhere else."""
    install(code, '[project.entry-points."igw.plugins"]\nbroken-scorer = "broken:Broken"\n')
    assert made("[{type: queue-scorer}]").profiles
    with pytest.raises(ConfigError, match="the plugin `broken-scorer` cannot be loaded") as caught:
        made("[{type: broken-scorer}]")
    assert said in str(caught.value)
