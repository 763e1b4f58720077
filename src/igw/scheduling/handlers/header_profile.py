"""`header-profile-handler`: a header of the request names the profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from igw.request import Request
from igw.scheduling.api import ProfileHandler, Ranking


class HeaderProfileHandler(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Runs the profile that the header names; `defaultProfile` without the header; the only one if there is one.

    A name that no profile has is answered 429, as upstream does.
    """

    type: ClassVar[str] = "header-profile-handler"

    header_name: Annotated[str, Meta(min_length=1)] = "EPP-Profile"
    """Whatever its case."""
    default_profile: Annotated[str, Meta(min_length=1)] = "decode"

    def choose(
        self, request: Request, profiles: Mapping[str, Any], done: Mapping[str, Ranking | None], /
    ) -> Sequence[str]:
        """Return the one profile, if it exists."""
        if done:
            return ()
        if len(profiles) == 1:
            return tuple(profiles)
        named = self._named(request)
        return (named,) if named in profiles else ()

    def primary(self, request: Request, done: Mapping[str, Ranking | None], /) -> str:
        """Return the profile that was run, or should have been."""
        return next(iter(done), self._named(request))

    def _named(self, request: Request) -> str:
        return request.head.headers.get(self.header_name.lower(), "").strip() or self.default_profile


_: type[ProfileHandler] = HeaderProfileHandler
