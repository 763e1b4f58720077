"""Chains as a flag writes them."""

from __future__ import annotations

import re

import pytest

from igw.errors import ConfigError
from igw.payload import builtin
from igw.payload.builtin import DEFAULT, TYPES, chain
from igw.payload.plugins.base_model_to_header import BaseModelToHeader
from igw.payload.plugins.body_field_to_header import BodyFieldToHeader


def test_a_chain_has_its_plugins_in_the_order_of_the_flags() -> None:
    """Parameters are JSON after the second colon, colons in them included."""
    written = [
        "base-model-to-header:base",
        'body-field-to-header:user:{"fieldName":"user","headerName":"X-User"}',
    ]
    assert [(each.type, each.name, each.plugin) for each in chain(written)] == [
        ("base-model-to-header", "base", BaseModelToHeader()),
        ("body-field-to-header", "user", BodyFieldToHeader("user", "X-User")),
    ]


def test_without_flags_model_and_base_model_become_headers() -> None:
    """Upstream's default."""
    assert chain([]) == DEFAULT
    assert [each.plugin.writes for each in DEFAULT] == [
        ("x-gateway-model-name",),
        ("x-gateway-base-model-name",),
    ]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (["body-field-to-header"], "type and name are expected"),
        (["body-field-to-heder:x"], "did you mean body-field-to-header?"),
        (["body-field-to-header:x"], "missing required field `fieldName`"),
        (['body-field-to-header:x:{"fieldName":"a"}'], "missing required field `headerName`"),
        (['body-field-to-header:x:{"fieldName":"","headerName":"X"}'], "length >= 1"),
        (['body-field-to-header:x:{"fieldName":"a","headerName":"X Y"}'], "headerName"),
        (['base-model-to-header:x:{"a":1}'], "unknown field `a`"),
        (["base-model-to-header:x:{"], "cannot be used"),
        (["base-model-to-header:x", "base-model-to-header:x"], "`x` is written twice"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(written: list[str], problem: str) -> None:
    """It names the flag; the process then does not start."""
    with pytest.raises(ConfigError, match=re.escape(problem)) as error:
        chain(written)
    assert error.value.where.startswith("--plugin ")


class Entry:
    """An entry point."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, f"somewhere:{name}", loaded

    def load(self) -> object:
        return self._loaded


def test_plugins_of_others_come_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under their name, and only if they are plugins."""
    known = [Entry("mine", TYPES["base-model-to-header"]), Entry("odd", dict)]
    monkeypatch.setattr(
        builtin,
        "entry_points",
        lambda group, name="": [each for each in known if group == builtin.GROUP and name in {"", each.name}],
    )
    assert chain(["mine:x"])[0].plugin == BaseModelToHeader()
    with pytest.raises(TypeError, match="somewhere:odd"):
        chain(["odd:x"])
    with pytest.raises(ConfigError, match="did you mean mine"):
        chain(["mien:x"])
