"""`agent-identity`: coding agents say in a header which session a request is of; sessions share the pool fairly."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.request import Request
from igw.scheduling.api import HeaderProcessor

ATTRIBUTE = "agent-identity"
HEADERS = ("x-claude-code-session-id", "x-session-affinity", "session-id", "session_id")


class AgentIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Takes the first header that is there as the request's attribute, and as its fairness id unless the client gave one."""

    type: ClassVar[str] = "agent-identity"

    additional_session_headers: list[str] = []
    """Looked at before those that agents are known to send. Whatever their case."""

    def process(self, request: Request, /) -> Request:
        """Return the request with its identity, if a header tells one."""
        headers = request.head.headers
        for name in (*self.additional_session_headers, *HEADERS):
            if identity := headers.get(name.lower(), "").strip():
                return msgspec.structs.replace(
                    request,
                    attributes={**request.attributes, ATTRIBUTE: identity},
                    fairness_id=request.fairness_id or identity,
                )
        return request


_: type[HeaderProcessor] = AgentIdentity
