"""What takes tracing's place where nobody wants it: everything stays as it is. Only what is built here imports OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client.core import Metric

from igw.routing.router import Router
from igw.tracing.settings import Settings

if TYPE_CHECKING:
    from igw.tracing.tracing import Tracing

T = TypeVar("T")


class Untraced:
    """Puts nothing around anything (`igw.tracing.tracing.Tracing`)."""

    def around(self, _exchanges: Any) -> None:
        """Do nothing."""

    def router(self, *given: Any) -> Router:
        """Return a plain router."""
        return Router(*given)

    def _same(self, given: T) -> T:
        return given

    series = scheduler = ending = refusing = _same

    async def close(self) -> None:
        """Do nothing."""

    def collect(self) -> Iterable[Metric]:
        """Yield nothing."""
        return ()


def tracing(settings: Settings | None, clock: Callable[[], float]) -> Tracing | Untraced:
    """Return what *settings* ask for; None: nothing.

    Raises:
        ConfigError: what is installed cannot send.
    """
    if settings is None:
        return Untraced()
    from igw.tracing.tracing import Tracing

    return Tracing(settings, clock)
