"""JSON bodies: one decode into the fields an API asks for, no copy of what is only hashed, clear errors.

Which fields an API has is in its own file.
"""

from __future__ import annotations

from array import array
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
    """Raise BadRequest if a field that the API cannot do without is missing, or a list without anything in it."""
    if not present(raw):
        raise BadRequest(f"`{name}` not found in request body; {suffix} needs it")
    if len(raw) < _MOST_EMPTY and bytes(raw).translate(None, b" \t\r\n") == b"[]":
        raise BadRequest(f"`{name}` in the request body is empty; {suffix} needs at least one")


_MOST_EMPTY = 8  # an empty list with more space in it than that is let through


def model_name(raw: msgspec.Raw) -> str:
    """Return the model that a body names; empty for none.

    Where that is an error, `routing` raises it: a pool's rewrites may say which model it is all the same (`Found.model_value`).

    Raises:
        BadRequest: no string.
    """
    try:
        return _string(raw) if present(raw) else ""
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"`model` in the request body is not a string: {error}") from None


def first_field(body: Body, model: bytes) -> tuple[int, bytes]:
    """Return where a field stands that comes before all others of an object, which has some, and *model* written as that field."""
    return body.index(b"{") + 1, b'"model":%s,' % model


def open_ended(*raws: msgspec.Raw) -> tuple[memoryview, ...]:
    """Return those of *raws* that are there, each without the byte that closes its array or string.

    So a longer conversation extends a shorter one.
    """
    return tuple([memoryview(raw)[:-1] for raw in raws if present(raw)])


_ids = msgspec.json.Decoder(list[int]).decode
_lists_of_ids = msgspec.json.Decoder(list[list[int]]).decode


def token_ids(raw: msgspec.Raw, name: str) -> memoryview | None:
    """Return a list of tokens, or a list of such lists as one, in four bytes each: what a token counts everywhere here.

    None if *raw*, the field *name*, is something else: a string or a list of strings.

    Raises:
        BadRequest: some token is none.
    """
    start = bytes(memoryview(raw)[:16]).translate(None, b" \t\r\n")
    lists = start[1:2] == b"["
    if start[:1] != b"[" or not (lists or start[1:2] in _DIGITS):
        return None
    try:
        ids = _ids(raw) if not lists else [each for ids in _lists_of_ids(raw) for each in ids]
        return memoryview(array("I", ids)).cast("B")
    except (msgspec.DecodeError, OverflowError) as error:
        raise BadRequest(f"`{name}` in the request body is no list of tokens: {error}") from None


_DIGITS = frozenset(b"%d" % digit for digit in range(10)) | {b"-"}
