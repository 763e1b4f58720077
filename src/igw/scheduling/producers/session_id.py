"""`session-id-producer`: which session a request belongs to, from a header or a cookie."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, ClassVar

import msgspec

from igw.facts import SESSION, Facts
from igw.request import Request
from igw.scheduling.api import Producer


class SessionIdProducer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Reads exactly one of a header and a cookie."""

    type: ClassVar[str] = "session-id-producer"
    provides: ClassVar[tuple[str, ...]] = (SESSION,)

    header_name: str = ""
    """In any case."""
    cookie_name: str = ""

    def __post_init__(self) -> None:
        if bool(self.header_name) == bool(self.cookie_name):
            raise ValueError("write exactly one of headerName and cookieName")

    def produce(self, request: Request, _facts: Facts, /) -> Mapping[str, Any]:
        """Return the session, if the request names one."""
        headers = request.head.headers
        session = (
            headers.get(self.header_name.lower(), "")
            if self.header_name
            else _cookie(headers.get("cookie", ""), self.cookie_name)
        )
        return {SESSION: session} if session else {}


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:  # a client's own business: a request without a session
        return ""
    return found.value if found is not None else ""


_: type[Producer] = SessionIdProducer
