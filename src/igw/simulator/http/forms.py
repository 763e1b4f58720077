"""Bodies of `multipart/form-data`: small fields as text, files as bytes. What an API makes of them is in its own module."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import BodyPartReader, web

from igw.simulator.http.errors import ApiError, malformed

MOST_PARTS = 100
MOST_FIELD_BYTES = 1 << 20

_Fields = TypeVar("_Fields", bound=msgspec.Struct)


class Form(msgspec.Struct, frozen=True):
    """One form. A name that ends in `[]` is a list, as OpenAI's SDKs write them, and has its name without that here."""

    fields: dict[str, Any]
    files: dict[str, list[bytes]]

    def as_struct(self, kind: type[_Fields]) -> _Fields:
        """Return the fields as numbers, flags and texts; ApiError 400 names the one that is wrong."""
        try:
            return msgspec.convert(self.fields, kind, strict=False)
        except msgspec.ValidationError as error:
            raise malformed(error) from error

    def file(self, name: str) -> bytes:
        """Return the one file called *name*; ApiError 400 where it is missing or empty."""
        found = self.files.get(name, [])
        if len(found) != 1 or not found[0]:
            raise ApiError(400, f"{name} must be one file that is not empty.", param=name)
        return found[0]


async def read_form(request: web.Request) -> Form:
    """Return the form in the body of *request*; ApiError 400 for anything else."""
    if request.content_type != "multipart/form-data":
        raise ApiError(400, f"The body must be multipart/form-data, not {request.content_type}.")
    form = Form({}, {})
    try:
        reader = await request.multipart()
        for _ in range(MOST_PARTS):
            part = await reader.next()
            if part is None:
                return form
            await _add(form, part)
    except (ValueError, AssertionError) as error:  # the reader asserts that there is a boundary
        raise ApiError(400, f"The body is not valid multipart/form-data: {error}.") from error
    raise ApiError(400, f"The form has more than {MOST_PARTS} parts.")


async def _add(form: Form, part: Any) -> None:
    name = part.name if isinstance(part, BodyPartReader) else None
    if not name:
        raise ApiError(400, "Each part of the form must have a name.")
    repeated, name = name.endswith("[]"), name.removesuffix("[]")
    content = bytes(await part.read(decode=True))
    if part.filename is not None:
        form.files.setdefault(name, []).append(content)
        return
    if len(content) > MOST_FIELD_BYTES:
        raise ApiError(400, f"{name} is longer than {MOST_FIELD_BYTES} bytes.", param=name)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"{name} is not UTF-8: {error}.", param=name) from error
    earlier = form.fields.get(name)
    form.fields[name] = [*(earlier if isinstance(earlier, list) else []), text] if repeated else text
