"""Flags on what is kept of decisions to explain them: names and words. What they mean is `igw.explaining`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.groups import Group

if TYPE_CHECKING:
    from igw.app.settings import PickerSettings

_SECONDS = 60.0


class Explained(Group, frozen=True):
    """Explanations."""

    explain_minutes: Annotated[
        float, typer.Option(help="How long decisions are kept to be explained; 0: they are not.", min=0)
    ] = 10.0
    explain_bytes: Annotated[int, typer.Option(help="Memory for them; 0: they are not kept.", min=0)] = (
        64 << 20
    )
    explain_header: Annotated[
        bool,
        typer.Option(
            "--explain-header",
            help="Tell clients that send `x-igw-explain: true` why, by headers of the answer.",
        ),
    ] = False

    def kept(self, settings: PickerSettings) -> PickerSettings:
        """Return *settings* with what is to be kept, and who is told."""
        from igw.explaining.settings import Settings

        explain = Settings(self.explain_minutes * _SECONDS, self.explain_bytes, self.explain_header)
        return msgspec.structs.replace(settings, explain=explain)
