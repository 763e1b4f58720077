"""Whether there are traces, and where they go."""

from __future__ import annotations

import pytest

from igw.errors import ConfigError
from igw.tracing.context import Sampler
from igw.tracing.settings import Settings, settings


def test_by_default_a_tenth_goes_by_otlp() -> None:
    """As upstream's."""
    assert settings({}) == Settings(Sampler(0.01), "otlp", plugins=False)
    assert settings({"OTEL_TRACES_EXPORTER": "console"}, plugins=True) == Settings(
        Sampler(0.01), "console", plugins=True
    )


@pytest.mark.parametrize("variables", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": " True"}])
def test_a_variable_can_turn_them_off(variables: dict[str, str]) -> None:
    """Then nothing is spent on them."""
    assert settings(variables) is None


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "there is no exporter `jaeger`"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "`http/protobuf` is not spoken here"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "grpc, on port 4317"),
    ],
)
def test_what_is_not_there_is_an_error(variables: dict[str, str], words: str) -> None:
    """With what would be right."""
    with pytest.raises(ConfigError, match=words):
        settings(variables)
