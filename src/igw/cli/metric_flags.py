"""Flags on what a picker measures beside what it always does: names and words. What is measured is `igw.app.metering`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.groups import Group

if TYPE_CHECKING:  # so that `igw --help` needs none of it
    from igw.app.settings import PickerSettings


class Measured(Group, frozen=True):
    """Metrics."""

    enable_grpc_stream_metrics: Annotated[
        bool,
        typer.Option(
            "--enable-grpc-stream-metrics", help="Count and time ext_proc streams too, whatever is in them."
        ),
    ] = False
    older_metric_names: Annotated[
        bool,
        typer.Option(
            "--older-metric-names",
            help="Write metrics under upstream's older names too, llm_d_router_epp_* and inference_*.",
        ),
    ] = False

    def more(self, settings: PickerSettings) -> PickerSettings:
        """Return *settings* with what was said."""
        return msgspec.structs.replace(
            settings, stream_metrics=self.enable_grpc_stream_metrics, older_metrics=self.older_metric_names
        )
