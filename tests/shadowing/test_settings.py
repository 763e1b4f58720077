"""How shadows are written on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.app.settings import PickerSettings
from igw.cli.shadow_flags import Shadowed
from igw.errors import ConfigError
from igw.shadowing.settings import Settings, Shadow, shadows
from igw.stack.parts import endpoint_picker
from igw.stack.settings import Settings as Stack


def test_shadows_have_names() -> None:
    """In the order they are written in."""
    assert shadows(["b=one.yaml", "a.2=x=y.yaml"]) == (
        Shadow("b", Path("one.yaml")),
        Shadow("a.2", Path("x=y.yaml")),
    )


@pytest.mark.parametrize("written", ["one.yaml", "=one.yaml", "a=", "a b=one.yaml", "x" * 64 + "=one.yaml"])
def test_what_is_no_name_and_path_is_told(written: str) -> None:
    """With the flag and an example."""
    with pytest.raises(ConfigError, match=r"--shadow-config-file: .*NAME=PATH.*such as"):
        shadows([written])


def test_a_name_is_given_once() -> None:
    """It is a label of metrics."""
    with pytest.raises(ConfigError, match=r"two shadows named `a` \(the first is one.yaml\)"):
        shadows(["a=one.yaml", "a=two.yaml"])


def test_flags_become_settings() -> None:
    """Plugins that upstream calls Alpha are allowed to shadows where they are to the active configuration."""
    flags, before = Shadowed(["a=one.yaml"], 0.5), PickerSettings((), allow_experimental=True)
    assert flags.beside(before).shadows == Settings(
        (Shadow("a", Path("one.yaml")),), 0.5, allow_experimental=True
    )
    assert Shadowed().beside(before).shadows.shadows == ()


def test_the_stack_passes_them_on(tmp_path: Path) -> None:
    """`igw up` has the same flags."""
    settings = Stack(shadows=("a=one.yaml", "b=two.yaml"), shadow_share=0.5)
    words = " ".join(endpoint_picker((), settings, tmp_path, lambda _line: None)._command)
    assert "--shadow-config-file a=one.yaml --shadow-config-file b=two.yaml --shadow-share 0.5" in words
    assert "--shadow" not in " ".join(endpoint_picker((), Stack(), tmp_path, lambda _line: None)._command)
