"""What a plugin of the body-based router is: it reads top-level fields of a body and says what changes. Which ones there are is in `builtin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from igw.errors import BadRequest, DropReason, Rejected
from igw.request import Head

_string = msgspec.json.Decoder(str).decode


class Message(msgspec.Struct, frozen=True):
    """One request as a plugin sees it: what plugins before it have changed is changed."""

    head: Head
    """As it came."""
    fields: Mapping[str, bytes]
    """Those top-level fields of the body that a plugin of the chain reads, and that are there: name -> JSON text, as it was written."""
    headers: Mapping[str, str | None]
    """What plugins before this one have set, None where they have removed; lower-case names."""
    base_models: Mapping[str, str]
    """Adapter, or base model -> base model, as the adapter maps say now."""

    def text(self, field: str) -> str | None:
        """Return a field as text: a string without its quotes, anything else as written; None for null and what is missing.

        Raises:
            BadRequest: it is not text.
        """
        written = self.fields.get(field)
        if written is None or written == b"null":
            return None
        try:
            return _string(written) if written[:1] == b'"' else written.decode()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"`{field}` in the request body cannot be read: {error}") from None


class Changes(msgspec.Struct, frozen=True):
    """What a plugin, or all of them, change. None removes."""

    headers: Mapping[str, str | None] = {}
    """Lower-case names."""
    fields: Mapping[str, bytes | None] = {}
    """Top-level fields of a JSON body, as JSON text."""
    not_found: tuple[str, ...] = ()
    """Fields that the plugin would have needed (counted)."""
    empty: tuple[str, ...] = ()
    """Fields that were there and said nothing (counted)."""


class Plugin(Protocol):
    """One step of the chain; a frozen struct whose fields are its parameters. Its text must not log what requests say."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the fields of a body that it asks for."""
        ...

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the headers, in lower case, that only it may set: what a client sends under them is dropped."""
        ...

    def process(self, message: Message, /) -> Changes:
        """Return what changes.

        Raises:
            Rejected: the client gets that answer (`Refusal` has the codes); anything else ends the exchange with an error.
        """
        ...


_STATUS = {
    "BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "NotFound": 404, "ResourceExhausted": 429, "Internal": 500,
    "ServiceUnavailable": 503,
}  # fmt: skip


class Refusal(Rejected):
    """A plugin's answer in the model server's place, by one of upstream's codes."""

    reason = DropReason.PLUGIN

    def __init__(self, code: str, message: str) -> None:
        """*code* is `BadRequest`, `Unauthorized`, `Forbidden`, `NotFound`, `ResourceExhausted`, `Internal` or `ServiceUnavailable`."""
        super().__init__(message)
        self.status = _STATUS[code]
        self.code = code
