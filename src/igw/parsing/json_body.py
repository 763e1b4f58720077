"""JSON bodies: one decode into the fields an API asks for, no copy of what is only hashed, clear errors.

Which fields an API has is in its own file.
"""

from __future__ import annotations

from typing import Any

import msgspec

from igw.errors import BadRequest
from igw.parsing.api import Body

_string = msgspec.json.Decoder(str).decode
_NULL = memoryview(b"null")  # a Raw equals nothing, a view of it does


def decoded(decode: Any, body: Body, suffix: str) -> Any:
    """Return the fields of *body* as *decode* (of a `msgspec.json.Decoder`) makes them.

    Raises:
        BadRequest: not JSON, nested too deeply to be read, or a field of the wrong type.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request body is not a valid {suffix} request: {error}") from None
    except RecursionError:
        raise BadRequest(f"the request body is not a valid {suffix} request: nested too deeply") from None


def present(raw: msgspec.Raw) -> bool:
    """Return whether a field is there and not null."""
    return len(raw) > 0 and memoryview(raw) != _NULL


def need(raw: msgspec.Raw, name: str, suffix: str) -> None:
    """Raise BadRequest if a field that the API cannot do without is missing."""
    if not present(raw):
        raise BadRequest(f"`{name}` not found in request body; {suffix} needs it")


def model_name(raw: msgspec.Raw) -> str:
    """Return the model that a body names.

    Raises:
        BadRequest: none, or no string.
    """
    try:
        name = _string(raw) if present(raw) else ""
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"`model` in the request body is not a string: {error}") from None
    if not name:
        raise BadRequest("model not found in request body")
    return name


def open_ended(*raws: msgspec.Raw) -> tuple[memoryview, ...]:
    """Return those of *raws* that are there, each without the byte that closes its array or string.

    So a longer conversation extends a shorter one.
    """
    return tuple([memoryview(raw)[:-1] for raw in raws if present(raw)])
