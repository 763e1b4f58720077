"""Every flag of upstream's picker is answered for: it is ours, it is accepted, or it is refused with what to use instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.core import TyperGroup
from typer.main import get_command

from igw.cli.main import app
from igw.cli.upstream_flags import FOREIGN, Given
from igw.errors import ConfigError

UPSTREAM = frozenset(
    """
    allow-experimental-plugins cache-info-metric cert-path config-file config-text disable-endpoint-subset-filter
    drain-timeout emit-endpoint-scores enable-cert-reload enable-grpc-stream-metrics enable-pprof endpoint-selector
    endpoint-target-ports grpc-health-port grpc-max-recv-msg-size grpc-max-send-msg-size grpc-port
    ha-enable-leader-election health-checking kv-cache-usage-percentage-metric lora-info-metric metrics-cert-dir
    metrics-client-ca-file metrics-endpoint-auth metrics-port metrics-staleness-threshold
    model-server-metrics-https-insecure-skip-verify model-server-metrics-path model-server-metrics-port
    model-server-metrics-scheme pool-group pool-name pool-namespace refresh-metrics-interval
    refresh-prometheus-metrics-interval secure-serving tls-cipher-suites tls-min-version total-queued-requests-metric
    total-running-requests-metric tracing v zap-devel zap-encoder zap-log-level zap-stacktrace-level zap-time-encoding
""".split()  # noqa: SIM905 - a column per flag would be a page
)
"""Of llm-d-router in August 2026, and those of the Gateway API Inference Extension 1.3 that are not there any more."""

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.fixture
def flags() -> dict[str, Any]:
    """The options of `igw epp` by flag, those that `--help` does not list too."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    command: Any = group.get_command(None, "epp")  # type: ignore[arg-type]
    return {flag: each for each in command.params for flag in (*each.opts, *each.secondary_opts)}


def table() -> dict[str, str]:
    """Return the page's table of upstream's flags: flag to answer."""
    text = PAGE.partition("### Flags of upstream's picker")[2].partition("\n### ")[0]
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return {
        flag: answer.strip() for first, answer in rows for flag in re.findall(r"`--?([a-z0-9-]+)`", first)
    }


def test_every_flag_of_upstream_is_known(flags: dict[str, Any]) -> None:
    """A start command of upstream's does not end in `No such option`."""
    assert not [name for name in UPSTREAM if f"--{name}" not in flags]
    assert "-v" in flags


def test_the_page_answers_for_every_flag() -> None:
    """What it calls the same is a flag of ours; what it calls accepted or refused is so."""
    answers = table()
    assert set(answers) == set(UPSTREAM)
    foreign = {each.flag: each for each in FOREIGN}
    for name, answer in answers.items():
        if name not in foreign:
            assert answer.startswith("same"), name
        elif foreign[name].refused:
            assert answer.startswith("refused"), name
        else:
            assert answer.startswith("accepted"), name


def test_help_lists_our_own_flags_only(flags: dict[str, Any]) -> None:
    """The others are a table on a page."""
    assert all(flags[f"--{each.flag}"].hidden for each in FOREIGN)
    assert not flags["--secure-serving"].hidden


@pytest.mark.parametrize("flag", [each for each in FOREIGN if not each.refused], ids=lambda each: each.flag)
def test_a_flag_without_effect_is_said_to_have_none(flag: Any) -> None:
    """Unless it asks for what is so anyway."""
    with structlog.testing.capture_logs() as lines:
        Given({flag.flag: "anything"}).answer()
        Given({flag.flag: flag.as_here} if flag.as_here else {}).answer()
    assert [(line["event"], line["flag"], line["why"]) for line in lines] == [
        ("flag_without_effect", f"--{flag.flag}", flag.word)
    ]


@pytest.mark.parametrize("flag", [each for each in FOREIGN if each.refused], ids=lambda each: each.flag)
def test_a_flag_that_something_would_hang_on_is_refused(flag: Any) -> None:
    """With what to use instead; its old default is what happens here."""
    with pytest.raises(ConfigError, match=f"^--{flag.flag}: ") as caught:
        Given({flag.flag: "anything"}).answer()
    assert caught.value.hint == flag.word
    if flag.as_here:
        Given({flag.flag: flag.as_here}).answer()
