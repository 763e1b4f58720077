"""Runs the profiles that a handler asks for; the primary one's pick is the destination. It does not know its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from igw.errors import NobodyLeft
from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Admitter, Picker, ProfileHandler, Ranking
from igw.scheduling.handlers.single_profile import SingleProfileHandler
from igw.scheduling.profile import Profile, Weighted


class Choice(msgspec.Struct, frozen=True):
    """What a scheduler chose: candidate indices, best first, and the weighted columns they were chosen by."""

    picked: Sequence[int]
    scores: Mapping[str, Column]
    left_out: Mapping[str, Sequence[int]] = {}
    """Candidates that filters of the primary profile left out, by the filter's name."""
    profiles: Mapping[str, Ranking | None] = {}
    """What every profile came to that was run; None for one whose filters left nobody."""


class Scheduler(msgspec.Struct, frozen=True):
    """Picks among the candidates of one request."""

    profiles: Mapping[str, Profile]
    handler: ProfileHandler = SingleProfileHandler()
    admitters: tuple[Admitter, ...] = ()

    @classmethod
    def of(cls, scorers: tuple[Weighted, ...], picker: Picker) -> Scheduler:
        """Return a scheduler of one profile without filters."""
        return cls({"default": Profile(scorers, picker)})

    def pick(self, request: Request, facts: Facts) -> Choice:
        """Return the best candidates for *request*; *facts* has one entry per candidate and at least one.

        Raises:
            Rejected: filters left nobody in the primary profile, or an admitter turned it away.
        """
        for admitter in self.admitters:
            admitter.admit(request, facts)
        profiles, handler = self.profiles, self.handler
        done: dict[str, Ranking | None] = {}
        # A profile runs once: a handler that never has enough ends with the profiles.
        for _ in profiles:
            wanted = [name for name in handler.choose(request, profiles, done) if name not in done]
            if not wanted:
                break
            for name in wanted:
                done[name] = profiles[name].run(request, facts)
        primary = handler.primary(request, done)
        ranking = done.get(primary)
        if ranking is None:
            raise NobodyLeft(_nobody(primary, done))
        return Choice(ranking.picked, ranking.scores, ranking.left_out, done)


def _nobody(primary: str, done: Mapping[str, Ranking | None]) -> str:
    if primary in done:
        return f"no endpoint is left after the filters of scheduling profile `{primary}`"
    return f"there is no scheduling profile `{primary}` for this request"
