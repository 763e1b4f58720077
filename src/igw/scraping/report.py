"""What one engine says of itself at one moment, in words that are the same for all engines. Reading it from a page is `mapping`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from igw.facts import Adapters


class Report(msgspec.Struct, frozen=True):
    """One metrics page, as far as it matters. None is for what the engine did not say: not known is not zero."""

    waiting: float | None
    """Requests in the engine's queue."""
    running: float | None
    """Requests in its batch."""
    kv_usage: float | None
    """Share of KV memory in use, 0 to 1."""
    kv_capacity_tokens: int | None = None
    lifetime: float | None = None
    """A counter of anything since the engine was started; that it goes back means a restart, with an empty cache."""
    adapters: Adapters | None = None
    """None for an engine that serves no LoRA adapters, or has not run any request yet."""
    block_size_tokens: int | None = None
    busy_seconds: float | None = None
    """A counter: seconds that requests were being computed, added up. Its rate is how many run, where no gauge says so."""
    scalars: Mapping[str, float] = {}
    """Custom metrics of the configuration that the page has, by their keys."""
    missing: tuple[str, ...] = ()
    """Families that this engine should have and the page has not, or not as a number."""

    @property
    def says_nothing(self) -> bool:
        """Whether there is no word of load: then it is no page of this engine."""
        return (
            self.waiting is None
            and self.running is None
            and self.kv_usage is None
            and self.busy_seconds is None
        )


def together(reports: Sequence[Report]) -> Report:
    """Return what several pages of one endpoint say; what the last one says counts where several say it, as upstream has it."""
    if len(reports) == 1:
        return reports[0]
    fields: dict[str, Any] = {"waiting": None, "running": None, "kv_usage": None}
    for report in reports:
        fields |= {name: value for name, value in asdict(report).items() if value is not None}
    fields["scalars"] = {key: value for report in reports for key, value in report.scalars.items()}
    fields["missing"] = tuple([name for report in reports for name in report.missing])
    return Report(**fields)
