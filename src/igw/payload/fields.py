"""A body -> those of its top-level fields that are asked for, as JSON text; and a body with some of them changed.

JSON and multipart/form-data are read; the rest of a body is skipped, not decoded. What an API means by a field is in `parsing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from igw.errors import BadRequest
from igw.parsing.api import Body
from igw.parsing.multipart import FormReader, boundary
from igw.request import Head

Fields = Mapping[str, bytes]

_whole = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_JSON = ("", "application/json", "application/x-www-form-urlencoded", "text/plain")
"""Types that mean JSON here (`curl -d` says the third)."""


class FieldReader:
    """Reads the same fields out of every body."""

    def __init__(self, names: Iterable[str]) -> None:
        """*names* are those of the fields."""
        self._names = tuple(dict.fromkeys(names))
        attributes = {f"f{index}": name for index, name in enumerate(self._names)}
        self._attributes = tuple((name, attribute) for attribute, name in attributes.items())
        shape = msgspec.defstruct(
            "Fields", [(name, msgspec.Raw, msgspec.Raw()) for name in attributes], rename=attributes, gc=False
        )
        self._decode = msgspec.json.Decoder(shape).decode

    def read(self, head: Head, body: Body) -> Fields:
        """Return the fields that *body* has.

        One of another type than `_JSON` and forms says nothing, unless it is JSON all the same; gRPC says nothing.

        Raises:
            BadRequest: it is not the JSON object or the form that its type says.
        """
        content_type = head.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind.startswith("application/grpc"):
            return {}
        delimiter = boundary(content_type) if kind == "multipart/form-data" else None
        if delimiter is not None:
            return self._of_form(body, delimiter)
        try:
            found = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if kind not in _JSON and not kind.endswith("+json"):
                return {}
            raise BadRequest(f"the request body is not a JSON object: {error}") from None
        except RecursionError:
            raise BadRequest("the request body is not a JSON object: nested too deeply") from None
        return {
            name: bytes(raw) for name, attribute in self._attributes if len(raw := getattr(found, attribute))
        }

    def _of_form(self, body: Body, delimiter: bytes) -> Fields:
        form = FormReader(delimiter)
        form.feed(body)
        found: dict[str, bytes] = {}
        for part in form.parts():
            if part.name in self._names and not part.is_file:
                text = bytes(body[part.start : part.end]).decode("utf-8", "replace")
                found[part.name] = msgspec.json.encode(text)
        return found


def changed(body: Body, changes: Mapping[str, bytes | None]) -> bytes:
    """Return the JSON object *body* with the top-level fields of *changes* set, or removed where None.

    What is not changed stays as it was written, digit for digit, and in its order; space between fields goes.

    Raises:
        BadRequest: the body is not a JSON object.
    """
    try:
        fields: dict[str, bytes | None] = {name: bytes(raw) for name, raw in _whole(body).items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request body is not a JSON object: {error}") from None
    written = [
        msgspec.json.encode(name) + b":" + text
        for name, text in (fields | dict(changes)).items()
        if text is not None
    ]
    return b"{" + b",".join(written) + b"}"
