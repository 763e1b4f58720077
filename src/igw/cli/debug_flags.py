"""Flags on what a picker tells of itself: who may ask its metrics port, and traces. What is told is the business of other rooms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.groups import Group
from igw.errors import ConfigError

if TYPE_CHECKING:  # so that `igw --help` needs none of it
    from igw.app.settings import PickerSettings


class Told(Group, frozen=True):
    """What it tells of itself."""

    dashboard_port: Annotated[
        int | None,
        typer.Option(
            help="Where all of the metrics port is served too, as the dashboard of `igw up`; 0 takes a free port, unless given nowhere.",
            min=0,
            max=65535,
        ),
    ] = None
    metrics_endpoint_auth: Annotated[
        bool | None,
        typer.Option(
            help="Ask for a token there, and the API server whose it is and whether they may; unless given where "
            "objects are those of a cluster."
        ),
    ] = None
    metrics_token_file: Annotated[
        Path | None,
        typer.Option(help="Ask for the token in this file there instead; read again when it changes."),
    ] = None

    tracing: Annotated[
        bool,
        typer.Option(
            help="Send traces of requests by OTLP over gRPC, to localhost:4317 and a tenth of them unless OTEL_EXPORTER_OTLP_* "
            "and OTEL_TRACES_* say otherwise."
        ),
    ] = False
    trace_plugins: Annotated[
        bool, typer.Option("--trace-plugins", help="With a span for every profile and plugin.")
    ] = False

    def applied(self, settings: PickerSettings) -> PickerSettings:
        """Return *settings* with what was said.

        Raises:
            ConfigError: flags that contradict each other, no cluster to ask, or a variable that cannot be used.
        """
        from igw.tracing.settings import settings as traces

        if self.trace_plugins and not self.tracing:
            raise ConfigError("--trace-plugins", "is about traces, and there are none", "add --tracing")
        wanted = traces(os.environ, plugins=self.trace_plugins) if self.tracing else None
        return msgspec.structs.replace(
            self._guarded(settings), traces=wanted, dashboard_port=self.dashboard_port
        )

    def _guarded(self, settings: PickerSettings) -> PickerSettings:
        """Return *settings*, which say where objects come from, with whose tokens are good."""
        from igw.debugging.settings import Authentication

        wanted, flag = self.metrics_endpoint_auth, "--metrics-endpoint-auth"
        if self.metrics_token_file is not None:
            if wanted is False:
                raise ConfigError(
                    f"--no-{flag[2:]}", "contradicts --metrics-token-file", "leave out one of them"
                )
            return msgspec.structs.replace(
                settings, authentication=Authentication(token_file=self.metrics_token_file)
            )
        if settings.cluster is None:
            if wanted:
                raise ConfigError(
                    flag, "needs a cluster to ask, and -f says that objects come from files",
                    "give a token of your own by --metrics-token-file",
                )  # fmt: skip
            return settings
        if wanted is False:
            return settings
        return msgspec.structs.replace(
            settings, authentication=Authentication(cluster=settings.cluster.config)
        )
