"""ConfigMaps of adapters: upstream's form, and every way to get it wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from igw.config.adapters import MANAGED, AdapterMap
from igw.config.manifests import load
from igw.errors import ConfigError


def config_map(name: str = "maps", label: str = MANAGED[0], **data: str) -> str:
    """Return one of them."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {label: "true"} if label else {}},
            "data": data,
        }
    )


def read(folder: Path, *documents: str) -> tuple[AdapterMap, ...]:
    """Return what *documents* say."""
    path = folder / "maps.yaml"
    path.write_text("\n---\n".join(documents))
    return load([path]).adapter_maps


@pytest.mark.parametrize("label", MANAGED)
def test_a_map_has_a_base_model_and_a_list_in_a_string(tmp_path: Path, label: str) -> None:
    """Trimmed, without blanks, under the label of either project."""
    (found,) = read(tmp_path, config_map(label=label, baseModel=" llama ", adapters="- a\n- ' b '\n- ''\n"))
    assert (found.base_model, found.adapters) == ("llama", ("a", "b"))


@pytest.mark.parametrize("adapters", ["", "# none\n", "[]"])
def test_a_base_model_needs_no_adapters(tmp_path: Path, adapters: str) -> None:
    """It is known all the same."""
    (found,) = read(tmp_path, config_map(baseModel="llama", adapters=adapters))
    assert found.adapters == ()
    (found,) = read(tmp_path, config_map(baseModel="llama"))
    assert found.adapters == ()


def test_other_config_maps_are_passed_over(tmp_path: Path) -> None:
    """They are somebody else's."""
    path = tmp_path / "maps.yaml"
    path.write_text(
        "\n---\n".join([config_map("a", "", x="1"), config_map("b", baseModel="llama")])
        + "\n---\n"
        + config_map("c", baseModel="x").replace("'true'", "'false'")
    )
    manifests = load([path])
    assert [each.base_model for each in manifests.adapter_maps] == ["llama"]
    assert len(manifests.ignored) == 2


@pytest.mark.parametrize(
    ("documents", "where", "problem"),
    [
        ([config_map(adapters="- a")], "$.data.baseModel", "is missing"),
        ([config_map(baseModel="  ")], "$.data.baseModel", "is missing"),
        ([config_map(baseModel="m", adapter="- a")], "$.data", "did you mean adapters?"),
        ([config_map(baseModel="m", adapters="a: b")], "$.data.adapters", "a YAML list of names is expected"),
        ([config_map(baseModel="m", adapters="[1]")], "$.data.adapters", "a YAML list of names is expected"),
        ([config_map(baseModel="m", adapters="- [")], "$.data.adapters", "a YAML list of names is expected"),
        (
            [config_map("a", baseModel="m", adapters="[x]"), config_map("b", baseModel="n", adapters="[x]")],
            "ConfigMap default/b",
            "`x` belongs to m already",
        ),
        (
            [config_map("a", baseModel="m", adapters="[n]"), config_map("b", baseModel="n")],
            "ConfigMap default/a",
            "`n` is a base model already",
        ),
        ([config_map().replace("data: {}", "")], "$.data", "a mapping"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path: Path, documents: list[str], where: str, problem: str) -> None:
    """File, place, and what would be right."""
    with pytest.raises(ConfigError, match=re.escape(problem)) as error:
        read(tmp_path, *documents)
    assert where in error.value.where
    assert str(tmp_path) in error.value.where


def test_the_same_adapter_of_the_same_base_model_may_be_written_twice(tmp_path: Path) -> None:
    """Two teams may list it; a base model may be among its own adapters."""
    maps = read(
        tmp_path,
        config_map("a", baseModel="m", adapters="[x, m]"),
        config_map("b", baseModel="m", adapters="[x]"),
    )
    assert len(maps) == 2
