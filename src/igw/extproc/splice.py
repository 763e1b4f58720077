"""A body with another model's name in it: one splice, every other byte as it came. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from igw.parsing.json_body import first_field
from igw.parsing.vertex_grpc import WITH_MODEL
from igw.request import Request


def spliced(body: bytes | bytearray, request: Request, target: str) -> bytes | None:
    """Return *body* with *target* in the place of the model it names, or as its first field if it names none.

    None where that cannot be or is not wanted.
    *request* is as it was read from *body*: where the name stands follows from the memory it is in.

    Raises:
        ValueError: *request* was read from something else.
    """
    value = request.model_value
    if not target or value is None:
        return None
    if (enveloped := WITH_MODEL.get(request.api)) is not None:
        return enveloped(body, target)
    name = msgspec.json.encode(target) if request.model_quoted else target.encode()
    whole = memoryview(body)
    if not value.nbytes:
        start, name = first_field(body, name)
        return b"".join((whole[:start], name, whole[start:]))
    start = _address(value) - _address(body)
    if not 0 <= start <= len(body) - value.nbytes:
        raise ValueError("the model's name is not in the body that it was read from")
    return b"".join((whole[:start], name, whole[start + value.nbytes :]))


def _address(buffer: bytes | bytearray | memoryview) -> int:
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address
