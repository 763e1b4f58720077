"""`single-profile-handler`: there is one profile, and every request runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from igw.request import Request
from igw.scheduling.api import ProfileHandler, Ranking


class SingleProfileHandler(msgspec.Struct, frozen=True):
    """Runs the only profile. Parameters are ignored, as upstream does."""

    type: ClassVar[str] = "single-profile-handler"

    def choose(
        self, _request: Request, profiles: Mapping[str, Any], done: Mapping[str, Ranking | None], /
    ) -> Sequence[str]:
        """Return every profile once."""
        return () if done else tuple(profiles)

    def primary(self, _request: Request, done: Mapping[str, Ranking | None], /) -> str:
        """Return the profile that was run."""
        return next(iter(done))


_: type[ProfileHandler] = SingleProfileHandler
