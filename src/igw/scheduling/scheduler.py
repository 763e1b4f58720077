"""Runs the profiles that a handler asks for; the primary one's pick is the destination. It does not know its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from igw.decision import Delivery
from igw.errors import NobodyLeft
from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Admitter, Deliverer, Picker, ProfileHandler, Ranking
from igw.scheduling.handlers.single_profile import SingleProfileHandler
from igw.scheduling.instances import Instances
from igw.scheduling.profile import Profile, Weighted


class Choice(msgspec.Struct, frozen=True):
    """What a scheduler chose: candidate indices, best first, and the weighted columns they were chosen by."""

    picked: Sequence[int]
    scores: Mapping[str, Column]
    left_out: Mapping[str, Sequence[int]] = {}
    """Candidates that filters of the primary profile left out, by the filter's name."""
    profiles: Mapping[str, Ranking | None] = {}
    """What every profile came to that was run; None for one whose filters left nobody."""
    delivery: Delivery = Delivery()


class Scheduler(msgspec.Struct, frozen=True):
    """Picks among the candidates of one request."""

    profiles: Mapping[str, Profile]
    handler: ProfileHandler = SingleProfileHandler()
    admitters: tuple[Admitter, ...] = ()
    deliverers: tuple[Deliverer, ...] = ()
    plugins: Instances = Instances()
    """What the configured plugins do beside ranking; `routing` calls them."""

    @classmethod
    def of(cls, scorers: tuple[Weighted, ...], picker: Picker) -> Scheduler:
        """Return a scheduler of one profile without filters."""
        return cls({"default": Profile(scorers, picker)})

    @property
    def needs_work(self) -> bool:
        """Whether a plugin of some profile asks for the cost of a request (`Facts.cost`), which is worked out only then."""
        plugins = chain.from_iterable(
            (each.picker, *(weighted.scorer for weighted in each.scorers)) for each in self.profiles.values()
        )
        return any(getattr(plugin, "needs_work", False) for plugin in plugins)

    def pick(self, request: Request, facts: Facts) -> Choice:
        """Return the best candidates for *request*; *facts* has one entry per candidate and at least one.

        Raises:
            Rejected: filters left nobody in the primary profile, or an admitter turned it away.
        """
        for admitter in self.admitters:
            admitter.admit(request, facts)
        profiles, handler = self.profiles, self.handler
        done: dict[str, Ranking | None] = {}
        left_out: dict[str, Mapping[str, Sequence[int]]] = {}  # of profiles that left nobody
        # A profile runs once: a handler that never has enough ends with the profiles.
        for _ in profiles:
            wanted = [name for name in handler.choose(request, profiles, done) if name not in done]
            if not wanted:
                break
            for name in wanted:
                done[name] = came_to = profiles[name].run(request, facts)
                if not len(came_to.picked):
                    done[name], left_out[name] = None, came_to.left_out
        primary = handler.primary(request, done)
        ranking = done.get(primary)
        if ranking is None:
            nobody = NobodyLeft(_nobody(primary, done))
            nobody.left_out = {
                name: [facts.endpoints[index].hostport for index in indices] if facts.endpoints else []
                for name, indices in left_out.get(primary, {}).items()
            }
            raise nobody
        delivery = Delivery()
        for deliverer in self.deliverers:
            delivery = deliverer.deliver(delivery, request, facts, ranking.picked, done)
        return Choice(ranking.picked, ranking.scores, ranking.left_out, done, delivery)


def _nobody(primary: str, done: Mapping[str, Ranking | None]) -> str:
    if primary in done:
        return f"no endpoint is left after the filters of scheduling profile `{primary}`"
    return f"there is no scheduling profile `{primary}` for this request"
