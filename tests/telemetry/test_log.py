"""Logs: where they go, in which form, and from which level up."""

from __future__ import annotations

import ast
import contextlib
import contextvars
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import igw
from igw.telemetry.log import HEADERS, TRACE, Sampling, configure

ROOT = Path(igw.__file__).parent


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


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_is_logged_with_its_trace(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both forms."""
    configure(form="json" if form == "json" else "console")
    try:
        int("broken page")
    except ValueError:
        structlog.get_logger().exception("unexpected")
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: invalid literal" in err


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was written."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_of_a_request_say_which(capsys: pytest.CaptureFixture[str]) -> None:
    """By its `x-request-id` and its trace, unless the line says it itself."""
    configure(form="json")
    trace = "0af7651916cd43dd8448eb211c80319c"

    def ask() -> None:
        HEADERS.set({"x-request-id": "lunch", "traceparent": f"00-{trace}-b7ad6b7169203331-00"})
        log = structlog.get_logger()
        log.info("first")
        TRACE.set("ours")
        log.info("second", request_id="another")

    contextvars.copy_context().run(ask)
    structlog.get_logger().info("third")
    first, second, third = lines(capsys)
    assert (first["request_id"], first["trace_id"]) == ("lunch", trace)
    assert (second["request_id"], second["trace_id"]) == ("another", "ours")
    assert not {"request_id", "trace_id"} & set(third)


def test_a_storm_of_one_event_leaves_most_of_it_out_and_says_so() -> None:
    """Others are not affected, and the next second begins anew."""
    now = [0.0]
    sampling = Sampling(lambda: now[0], first=3, then=10)

    def written(event: str, times: int) -> list[dict[str, Any]]:
        kept = []
        for _ in range(times):
            with contextlib.suppress(structlog.DropEvent):
                kept.append(dict(sampling(None, "info", {"event": event})))
        return kept

    assert written("storm", 25) == [
        *[{"event": "storm"}] * 3,
        {"event": "storm", "left_out": 9},
        {"event": "storm", "left_out": 9},
    ]
    assert written("calm", 2) == [{"event": "calm"}] * 2
    now[0] += 1
    assert written("storm", 1) == [{"event": "storm", "left_out": 2}]


def test_what_is_remembered_of_events_is_bounded() -> None:
    """Even if a name should not be constant."""
    sampling = Sampling(lambda: 0.0)
    for number in range(3000):
        sampling(None, "info", {"event": f"e{number}"})
    assert len(sampling._events) <= 1000


def test_tracebacks_show_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """There are prompts in them."""
    configure()

    def fails(prompt: str) -> int:
        return len(prompt) // 0

    try:
        fails("zebra " + "crossing")
    except ZeroDivisionError:
        structlog.get_logger().exception("unexpected")
    assert "zebra crossing" not in capsys.readouterr().err


CALLS = [
    (path.relative_to(ROOT), node)
    for path in sorted(ROOT.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Attribute)
    and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
    and isinstance(node.func.value, ast.Name)
    and node.func.value.id in {"log", "logger"}
]
PRIVATE = {"prompt", "body", "messages", "content", "contents", "media", "text", "token", "headers", "blocks"}


@pytest.mark.parametrize(("path", "call"), CALLS, ids=lambda each: str(getattr(each, "lineno", each)))
def test_events_are_constant_names_and_say_nothing_private(path: Path, call: ast.Call) -> None:
    """Every call in the house: what a client wrote is no event, no key and no value, but for names."""
    assert len(call.args) == 1, path
    names = call.args[0]
    for event in (names.body, names.orelse) if isinstance(names, ast.IfExp) else (names,):
        if isinstance(event, ast.Name):  # a parameter of who calls
            continue
        assert isinstance(event, ast.Constant), path
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", str(event.value)), f"{path}: {event.value}"
    for keyword in call.keywords:
        assert keyword.arg not in PRIVATE, path
        for node in ast.walk(keyword.value):
            named = (
                node.attr
                if isinstance(node, ast.Attribute)
                else node.id
                if isinstance(node, ast.Name)
                else ""
            )
            assert named not in PRIVATE, f"{path}: {named}"
