"""`body-field-to-header`: a top-level field of the body becomes a header."""

from __future__ import annotations

from typing import Annotated

import msgspec

from igw.config.gateway_api import HeaderName
from igw.errors import BadRequest
from igw.payload.api import Changes, Message, Plugin

LONGEST_BYTES = 4096
"""A Gateway's match cannot ask for more either."""


class BodyFieldToHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Copies a field of any JSON type; one that is missing, null or empty sets nothing."""

    field_name: Annotated[str, msgspec.Meta(min_length=1)]
    header_name: HeaderName

    @property
    def reads(self) -> tuple[str, ...]:
        """The field."""
        return (self.field_name,)

    @property
    def writes(self) -> tuple[str, ...]:
        """The header."""
        return (self.header_name.lower(),)

    def process(self, message: Message, /) -> Changes:
        """Return the header; `BadRequest` for a value that no header can carry."""
        text = message.text(self.field_name)
        if text is None:
            return Changes(not_found=(self.field_name,))
        text = text.strip()
        if not text:
            return Changes(empty=(self.field_name,))
        if not text.isprintable() or len(text.encode()) > LONGEST_BYTES:
            raise BadRequest(
                f"`{self.field_name}` in the request body cannot become a header: it has control characters, or more than"
                f" {LONGEST_BYTES} bytes"
            )
        return Changes(headers={self.header_name.lower(): text})


_: type[Plugin] = BodyFieldToHeader
