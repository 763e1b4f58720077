"""Whether there are traces, of which requests, in which detail, and where they go: OpenTelemetry's environment variables and our flags."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from igw.errors import ConfigError
from igw.tracing.context import Sampler, sampler

_EXPORTERS = ("otlp", "console", "none")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Settings(msgspec.Struct, frozen=True):
    """How requests are traced. The exporter reads the variables on its endpoint and TLS itself (`OTEL_EXPORTER_OTLP_*`)."""

    sampler: Sampler = Sampler()
    exporter: str = "otlp"
    """Or `console`: standard error, for trials."""
    plugins: bool = False
    """Whether every profile and plugin has a span."""


def settings(environment: Mapping[str, str], *, plugins: bool = False) -> Settings | None:
    """Return what *environment* asks for where traces are wanted; None where it turns them off all the same.

    Raises:
        ConfigError: a variable that cannot be used.
    """
    chosen = sampler(environment)
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter not in _EXPORTERS:
        raise ConfigError(
            "$OTEL_TRACES_EXPORTER", f"there is no exporter `{exporter}`", "known: " + ", ".join(_EXPORTERS)
        )
    for name in _PROTOCOLS:
        protocol = environment.get(name) or "grpc"
        if protocol != "grpc":
            raise ConfigError(f"${name}", f"`{protocol}` is not spoken here", "grpc, on port 4317 mostly")
    if exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    return Settings(chosen, exporter, plugins)
