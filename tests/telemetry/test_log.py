"""Logs: where they go, in which form, and from which level up."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from igw.telemetry.log import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the configuration of this process as it was."""
    yield
    structlog.reset_defaults()


def test_a_line_is_readable_and_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One event, one line; standard output is for what was asked for."""
    configure()
    structlog.get_logger().info("endpoint_lost", endpoint="10.0.0.1:8000")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "endpoint_lost" in err
    assert "endpoint=10.0.0.1:8000" in err


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With level and time, for machines."""
    configure(form="json")
    structlog.get_logger().warning("edit_refused", where="pool.yaml $.spec")
    event = json.loads(capsys.readouterr().err)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "edit_refused", "level": "warning", "where": "pool.yaml $.spec"}


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", ["debug", "info", "error"]), ("info", ["info", "error"]), ("error", ["error"])],
)
def test_only_what_matters_enough_is_logged(
    level: str, seen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the level up."""
    configure(level, "json")
    log = structlog.get_logger()
    log.debug("debug")
    log.info("info")
    log.error("error")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == seen


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_logged_with_its_trace(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both forms."""
    configure(form="json" if form == "json" else "text")
    try:
        int("broken page")
    except ValueError:
        structlog.get_logger().exception("unexpected")
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: invalid literal" in err
