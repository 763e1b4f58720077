"""Policies by name and by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab import catalogue
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from tests.lab.small import SMALL, singles

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: round-robin-picker
"""


def test_every_name_can_be_found_and_run() -> None:
    """Those of the product, of the table, and of the configurations that come along."""
    names = catalogue.names()
    assert names[0] == "default"
    assert {"round-robin", "random", "upstream-default"} <= set(names)
    asked = singles(*[(n * 0.2, 300, 10) for n in range(10)])
    for name in names:
        made = run(Scenario(name="s", workload=asked, servers=(SMALL,)), name, 1)
        assert len(made.records) == 10, name
        assert made.policy == name


def test_a_path_is_an_endpoint_picker_config(tmp_path: Path) -> None:
    """Any file that the product takes."""
    file = tmp_path / "mine.yaml"
    file.write_text(CONFIG)
    made = run(
        Scenario(name="s", workload=singles((0, 300, 5), (5, 300, 5), (9, 300, 5)), servers=(SMALL,)),
        str(file),
        1,
    )
    assert [record.server for record in made.records] == [0, 1, 0]


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    """Or with all there are."""
    with pytest.raises(ConfigError, match=r"no policy `round-robbin` .*did you mean round-robin"):
        catalogue.find("round-robbin")
    with pytest.raises(ConfigError, match=r"known: .*default"):
        catalogue.find("qqqqqq")


def test_errors_of_a_file_are_those_of_the_product(tmp_path: Path) -> None:
    """With the place and the nearest known name; and before anything runs."""
    file = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="no such file"):
        catalogue.find(str(file))
    file.write_text(CONFIG.replace("queue-scorer", "queue-score"))
    with pytest.raises(ConfigError, match=r"mine.yaml .*plugins\[0\].type.*did you mean queue-scorer"):
        catalogue.find(str(file))
    file.write_text("apiVersion: igw.dev/v1alpha1\nkind: Endpoints\nendpoints: []\n")
    with pytest.raises(ConfigError, match="no EndpointPickerConfig in this file"):
        catalogue.find(str(file))


def test_a_policy_may_be_a_python_file(tmp_path: Path) -> None:
    """Its `policy` is built with the setting, a fresh one per run."""
    file = tmp_path / "mine.py"
    file.write_text("class policy:\n    def __init__(self, setting):\n        self.setting = setting\n")
    assert type(catalogue.find(str(file))(None)).__name__ == "policy"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "there is no such file"),
        ("x = 1\n", "has no class or function `policy`"),
        ("import nothing_like_this\n", "cannot be run: ModuleNotFoundError"),
        ("def policy(:\n", "cannot be run: SyntaxError"),
    ],
)
def test_a_python_file_that_is_no_policy_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    """With the reason, and before anything runs."""
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.py") as caught:
        catalogue.find(str(file))
    assert problem in caught.value.problem
