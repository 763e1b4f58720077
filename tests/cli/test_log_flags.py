"""How much is logged, by our flag and by those of upstream."""

from __future__ import annotations

import pytest

from igw.cli import log_flags
from igw.cli.log_flags import Logs
from igw.errors import ConfigError


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The levels that logs were set to."""
    levels: list[str] = []
    monkeypatch.setattr(log_flags.log, "configure", lambda level, _form: levels.append(level))
    return levels


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (Logs(), "info"),
        (Logs(log_level="error"), "error"),
        (Logs(verbosity="=2"), "info"),
        (Logs(verbosity="4"), "debug"),
        (Logs(zap_log_level="error"), "error"),
        (Logs(zap_log_level="panic"), "error"),
        (Logs(zap_log_level="3"), "debug"),
        (Logs(verbosity="5", zap_log_level="error"), "debug"),
        (Logs(log_level="warning", verbosity="2"), "info"),
    ],
)
def test_levels(configured: list[str], said: Logs, level: str) -> None:
    """Of several the one that says most."""
    said.configure()
    assert configured == [level]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Logs(log_level="loud"), "--log-level: there is no level `loud` .debug, info, warning, error"),
        (Logs(zap_log_level="loud"), "--zap-log-level: there is no level `loud`"),
        (Logs(verbosity="loud"), "-v: `loud` is no number .0 to 5"),
    ],
)
def test_levels_there_are_not(said: Logs, problem: str) -> None:
    """One sentence with what there is."""
    with pytest.raises(ConfigError, match=problem):
        said.configure()
