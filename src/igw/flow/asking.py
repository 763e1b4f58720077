"""Who of a lane is asked for a place, in which order, and who need not be asked to be refused. What follows from it is `engine`."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from itertools import islice

from igw.flow.api import Claim, Placed, Refusal
from igw.flow.band import Band
from igw.flow.bands import Bands
from igw.flow.flows import Held
from igw.flow.refusals import Refusals


class Asking:
    """Asks claims, and knows which would be refused: asking is a whole pick, and where thousands wait mostly nobody fits."""

    def __init__(self, bands: Bands) -> None:
        """Take what tells claims of different priorities what they must leave."""
        self.refused = Refusals()
        """Since the last change of anything."""
        self._bands = bands

    def ask(self, claim: Claim, band: Band, now: float) -> Placed | Refusal | Exception:
        """Return what becomes of one request of *band*; an error becomes its answer, the others go on."""
        try:
            return claim.place(self._bands.turn(band, self.refused.closed, now))
        except Exception as error:
            return error

    def first(
        self, band: Band, lane: Hashable, now: float, *, left: int, alone: bool
    ) -> tuple[Held, Placed | Exception] | None:
        """Return who of *band* and *lane* leaves first, and to where; None if nobody finds a place.

        *left*: how many had left before this look; what claims say of themselves is asked anew when it has changed. *alone*: nobody else waits
        in the lane.
        """
        refused, priority = self.refused, band.priority
        if refused.covers(lane, priority):
            return None
        room = (
            math.inf
            if alone
            else band.lanes[lane].top().head(now).room(self._bands.turn(band, self.refused.closed, now))
        )
        if room <= 0.0:
            refused.full(lane, priority)
            return None
        for held in self._askable(band, lane, now, left):
            if room < math.inf:
                held.weigh(left)
            verdict = self.ask(held.claim, band, now) if held.needs <= room else Refusal.UNFIT
            if not isinstance(verdict, Refusal):
                return held, verdict
            if verdict is Refusal.FULL:
                refused.full(lane, priority)
            else:
                refused.unfit(lane, held.number, priority)
                if held.starves_at <= now:
                    refused.close(held.cheapest(left))
        return None

    def _askable(self, band: Band, lane: Hashable, now: float, left: int) -> Iterator[Held]:
        """Yield who is to be asked, as long as the lane is not known to be full."""
        refused, priority = self.refused, band.priority
        for line in band.in_turn(lane, now):
            for held in islice(band.offers(line, now, left), band.ordering.tries):
                if held.number not in refused.asked:
                    yield held
                if refused.covers(lane, priority):
                    return
