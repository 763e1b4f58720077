"""Tells a client why with its answer, if it asks and the picker was started so: what is said goes with the pick, the gateway puts it on the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from igw.decision import NO_RESERVATION, Decision
from igw.explaining.explanation import told
from igw.explaining.recorder import Recorder
from igw.explaining.sentences import why
from igw.request import Request

ASKS = "x-igw-explain"
"""By which a client asks: `true`."""
ID = "x-igw-decision-id"
WHY = "x-igw-decision"

Route = Callable[[Request], Awaitable[Decision]]


def telling(route: Route, recorder: Recorder) -> Route:
    """Return *route*, whose decisions are told to clients that ask.

    Where the gateway shows us answers, by their headers; a lean one takes it from the pick's metadata (`igw.gateway.filters`).
    """

    async def tell(request: Request) -> Decision:
        decision = await route(request)
        wanted = request.head.headers.get(ASKS, "").strip().lower() == "true"
        if not wanted or decision.id == NO_RESERVATION:
            return decision
        record = recorder.find(str(decision.id))
        # Names of endpoints are a file's or a cluster's; in a header only ASCII is safe.
        reason = why(record, told(record)).encode("ascii", "replace").decode()
        delivery, says = decision.delivery, {ID: str(decision.id), WHY: reason}
        return replace(
            decision,
            delivery=replace(
                delivery,
                answer_headers={**delivery.answer_headers, **says},
                metadata={
                    **delivery.metadata,
                    "envoy.lb": {**delivery.metadata.get("envoy.lb", {}), **says},
                },
            ),
        )

    return tell
