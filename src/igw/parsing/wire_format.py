"""Protobuf's wire format, as far as it takes to find a few fields in a message. What the fields mean is in the files of the APIs.

Nothing here knows a message: a reader asks for numbers of fields and skips the rest, so that new fields do not disturb it.
Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = int | memoryview
"""A varint, or the bytes of a string, a message or a packed list."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BYTES = 10
"""Of a varint: 64 bits, seven in each byte."""

MOST_FIELDS = 1 << 17
"""Of a message and those in it. It bounds the time: a list in its usual form, packed, is one field."""

_AT_A_TIME_BYTES = 1 << 18
"""How much of a packed list is unpacked at once: the columns that takes are many times as large."""


class Malformed(ValueError):
    """Bytes that are no message."""


def fields(message: memoryview, *, cut: bool = False) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of *message*, in the order in which they stand there; fixed-size numbers are skipped.

    A message that is there in part is read with *cut*: the last field is then what there is of it.

    Raises:
        Malformed: as soon as it shows.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise Malformed("field number 0")
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if size > end - at and not cut:
                raise Malformed(f"field {number} has {size} bytes, and {end - at} are left")
            yield number, message[at : at + size]
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
            if at > end and not cut:
                raise Malformed(f"field {number} is cut short")
        else:
            raise Malformed(f"field {number} is of unknown wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that stands at *at*, and where it ends."""
    found = 0
    for index, byte in enumerate(message[at : at + _MOST_BYTES]):
        found |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return found, at + index + 1
    raise Malformed(f"no number ends at byte {at} or up to {_MOST_BYTES - 1} later")


class Message:
    """The fields of one message by number; of *oneof* the last one counts.

    Raises:
        Malformed: no message, or more than `MOST_FIELDS` fields in it and in what was read of those within.
    """

    def __init__(
        self, message: memoryview, oneof: Sequence[int] = (), budget: Iterator[int] | None = None
    ) -> None:
        self._budget = budget = budget or iter(range(MOST_FIELDS))
        self._found: dict[int, list[Value]] = {}
        for number, value in fields(message):
            if next(budget, None) is None:
                raise Malformed(f"more than {MOST_FIELDS} fields")
            if number in oneof:
                for other in oneof:
                    if other != number:
                        self._found.pop(other, None)
            self._found.setdefault(number, []).append(value)

    def every(self, number: int) -> Sequence[Value]:
        """Return all that stands under *number*, in order."""
        return self._found.get(number, ())

    def parts(self, number: int) -> Sequence[memoryview]:
        """Return every string or message; by protobuf's rules what is of another type is not the field's."""
        return [value for value in self.every(number) if not isinstance(value, int)]

    def number(self, number: int) -> int | None:
        """Return the last number, None where there is none."""
        return next((value for value in reversed(self.every(number)) if isinstance(value, int)), None)

    def inner(self, number: int) -> Message:
        """Return a message inside this one; occurrences are merged, as by protobuf."""
        parts = self.parts(number)
        return self.within(parts[0] if len(parts) == 1 else memoryview(b"".join(parts)))

    def each(self, number: int) -> Iterator[Message]:
        """Yield the messages of a repeated field."""
        return map(self.within, self.parts(number))

    def within(self, message: memoryview) -> Message:
        """Return *message*, read at the cost of this one."""
        return Message(message, budget=self._budget)


def varint(number: int) -> bytes:
    """Return *number*, which is not negative, as it stands in a message."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def uint32s(values: Iterable[Value], most: int) -> NDArray[np.uint32]:
    """Return the numbers of a `repeated uint32` field of which *values* are all occurrences, packed or not; little-endian.

    Raises:
        Malformed: a packed list that is none.
        OverflowError: more than *most* of them.
    """
    found: list[NDArray[np.uint32]] = []
    count = 0
    for value in values:
        parts = [np.array([value & 0xFFFFFFFF], "<u4")] if isinstance(value, int) else _unpacked(value)
        for part in parts:
            count += len(part)
            if count > most:
                raise OverflowError(f"more than {most} numbers")
            found.append(part)
    if len(found) == 1:
        return found[0]
    return np.concatenate(found) if found else np.empty(0, "<u4")


def _unpacked(packed: memoryview) -> Iterator[NDArray[np.uint32]]:
    at = 0
    while at < len(packed):
        piece = np.frombuffer(packed[at : at + _AT_A_TIME_BYTES], np.uint8)
        last = np.flatnonzero(piece < 0x80)
        if not last.size:
            raise Malformed("a list of numbers ends inside of one")
        first = np.concatenate(([0], last[:-1] + 1))
        sizes = last - first + 1
        if int(sizes.max()) > _MOST_BYTES:
            raise Malformed("a number in a list is too long")
        low = piece & 0x7F
        numbers = low[first].astype(np.uint32)
        # What lies beyond 32 bits is cut off, as by protobuf.
        for index in range(1, min(int(sizes.max()), 5)):
            more = np.flatnonzero(sizes > index)
            numbers[more] |= low[first[more] + index].astype(np.uint32) << np.uint32(7 * index)
        yield numbers.astype("<u4", copy=False)
        at += int(last[-1]) + 1
