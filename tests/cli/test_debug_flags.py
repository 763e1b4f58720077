"""Flags on what a picker tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster, Context

from igw.app.settings import PickerSettings
from igw.cli.debug_flags import Told
from igw.debugging.settings import Authentication
from igw.discovery.cluster import Scope
from igw.discovery.watching import ClusterSettings
from igw.errors import ConfigError
from igw.tracing.context import Sampler
from igw.tracing.settings import Settings

CONFIG = SingleConfig("c", Context("c"), Cluster("http://127.0.0.1:1"))
FILES = PickerSettings(paths=(Path("pool.yaml"),))
CLUSTER = PickerSettings(paths=(), cluster=ClusterSettings(CONFIG, Scope("default")))
TOKEN = Path("token")


@pytest.mark.parametrize(
    ("settings", "told", "expected"),
    [
        (FILES, Told(), Authentication()),
        (CLUSTER, Told(), Authentication(cluster=CONFIG)),
        (CLUSTER, Told(metrics_endpoint_auth=True), Authentication(cluster=CONFIG)),
        (CLUSTER, Told(metrics_endpoint_auth=False), Authentication()),
        (FILES, Told(metrics_token_file=TOKEN), Authentication(token_file=TOKEN)),
        (CLUSTER, Told(metrics_token_file=TOKEN), Authentication(token_file=TOKEN)),
    ],
)
def test_a_cluster_is_asked_unless_it_is_said_otherwise(
    settings: PickerSettings, told: Told, expected: Authentication
) -> None:
    """As upstream's picker does."""
    assert told.applied(settings).authentication == expected


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"metrics_endpoint_auth": True}, "--metrics-endpoint-auth: needs a cluster to ask"),
        (
            {"metrics_endpoint_auth": False, "metrics_token_file": TOKEN},
            "--no-metrics-endpoint-auth: contradicts --metrics-token-file",
        ),
        ({"trace_plugins": True}, "--trace-plugins: is about traces, and there are none .add --tracing"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(told: dict[str, Any], words: str) -> None:
    """With the cure."""
    with pytest.raises(ConfigError, match=words):
        Told(**told).applied(FILES)


def test_traces_are_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where they are wanted."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    assert Told().applied(FILES).traces is None
    assert Told(tracing=True, trace_plugins=True).applied(FILES).traces == Settings(
        Sampler(0.5), plugins=True
    )
