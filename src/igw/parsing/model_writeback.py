"""Giving an answer the name that its client asked for: the value of `model` is replaced as the answer passes, and nothing else.

Which `model` that is: a field of the answer or of an event of a stream, or one of its `message` (Anthropic) or `response` (Responses
API). What a model wrote is never looked at for it. Whether an answer needs this is not decided here.
"""

from __future__ import annotations

import re

import msgspec

_MOST_HELD_BYTES = 1024
"""A key or a model's name that is longer is neither of those we look for, and passes."""

# What they match is never given back for another try, so their cost is linear in the bytes.
_key = re.compile(rb'[^"{}\[\]]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:', re.DOTALL).match
_rest_of_string = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL).match
_string = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL).match
_to_bracket = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL).match
_space = re.compile(rb"\s*+").match

_INSIDE = (b"message", b"response")
"""Fields of an answer whose own `model` counts."""


class _Object:
    """Walks through one JSON object, from piece to piece, until its `model` is met."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.done = False
        self._level = 0  # of the object whose keys we read: 1 is the answer, 2 a field of it, 0 before both
        self._depth = 0  # of what is skipped within it
        self._in_string = False
        self._field: bytes | None = None  # the key whose value comes next
        self.replaced: tuple[int, int] | None = None
        """Where in what was walked last the target stands, quotes included."""

    @property
    def untouched(self) -> bool:
        """Whether nothing of the object was seen yet."""
        return not self._level

    def walk(self, data: bytes, at: int, end: int) -> int:
        """Walk from *at* to *end*; return how far that was possible: the rest is wanted again, with what follows."""
        self.replaced = None
        while not self.done and at < end:
            step = self._step(data, at, end)
            if step < 0:
                self.done = end - at > _MOST_HELD_BYTES
                return end if self.done else at
            at = step
        return end if self.done else at

    def _step(self, data: bytes, at: int, end: int) -> int:
        """Return where the next thing begins; -1: this one is not there to its end."""
        if self._in_string:
            return self._through_string(data, at, end)
        if self._depth:
            return self._to_bracket(data, at, end)
        if self._field is not None:
            return self._value(data, at, end)
        if self._level:
            return self._key(data, at, end)
        opening = _space(data, at, end).end()  # type: ignore[union-attr]  # it matches anything
        if opening < end:
            self._level, self.done = 1, data[opening] != 0x7B
            return opening + 1
        return opening

    def _through_string(self, data: bytes, at: int, end: int) -> int:
        stop = _rest_of_string(data, at, end).end()  # type: ignore[union-attr]
        if stop < end and data[stop] == 0x22:
            self._in_string = False
            return stop + 1
        # Either all of it was text, or a backslash is the last byte.
        return stop if stop > at else -1

    def _to_bracket(self, data: bytes, at: int, end: int) -> int:
        stop = _to_bracket(data, at, end).end()  # type: ignore[union-attr]
        if stop == end:
            return end
        byte = data[stop]
        if byte == 0x22:
            self._in_string = True
        else:
            self._depth += 1 if byte in b"{[" else -1
        return stop + 1

    def _key(self, data: bytes, at: int, end: int) -> int:
        match = _key(data, at, end)
        if match is not None:
            self._field = match[1]
            return self._short(at, match.end())
        # No key: the object ends here, or this is no JSON, or the key is not all there.
        stop = data.find(b"}", at, end)
        if stop < 0 or data.find(b'"', at, stop) >= 0:
            return -1
        self._level -= 1
        self.done = not self._level
        return self._short(at, stop + 1)

    def _value(self, data: bytes, at: int, end: int) -> int:
        at = _space(data, at, end).end()  # type: ignore[union-attr]
        if at == end:
            return end
        field, byte = self._field, data[at]
        if byte == 0x22 and field == b"model":
            match = _string(data, at, end)
            if match is None:
                return -1
            if match.end() - at <= _MOST_HELD_BYTES:
                self._met(data, *match.span())
            self.done = True
            return match.end()
        self._field = None
        if byte == 0x22:
            self._in_string = True
        elif byte == 0x7B and self._level == 1 and field in _INSIDE:
            self._level = 2
        elif byte in b"{[":
            self._depth = 1
        else:
            return at  # a number or a word: what leads to the next key
        return at + 1

    def _met(self, data: bytes, start: int, stop: int) -> None:
        try:
            if msgspec.json.decode(data[start:stop], type=str) == self._target:
                self.replaced = (start, stop)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # no name of ours

    def _short(self, at: int, stop: int) -> int:
        """Return *stop*; give up if that is further than could have been held, had it come in pieces."""
        self.done = self.done or stop - at > _MOST_HELD_BYTES
        return stop


class ModelWriteback:
    """Puts *shown* in the place of *target* in one answer: JSON, or a stream of events if it does not begin with a bracket.

    Held back is at most what has come of a key or of the model's name, and that is below 1 KiB; all else passes at once.
    """

    def __init__(self, target: str, shown: str) -> None:
        self._target = target
        self._shown = msgspec.json.encode(shown)
        self._object = _Object(target)
        self._events: bool | None = None  # whether it is a stream of events; None until a byte tells
        self._in_line = False
        self._in_event = False  # whether it has begun its data: an object begins in the first line of them
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Return what is to be sent on now that *piece* has come; what is not as expected passes unchanged."""
        if self._events is False and self._object.done:
            return piece
        data = self._held + piece
        if self._events is None:
            opens = data[:_MOST_HELD_BYTES].lstrip()[:1]
            if not opens and len(data) < _MOST_HELD_BYTES:
                self._held = data
                return b""
            self._events = opens not in b"{["
        found: list[tuple[int, int]] = []
        read = self._lines(data, found) if self._events else self._walk(data, 0, len(data), found)
        self._held = data[read:]
        at, out = 0, list[bytes]()
        for start, stop in found:
            out += (data[at:start], self._shown)
            at = stop
        return b"".join((*out, data[at:read]))

    def rest(self) -> bytes:
        """Return what is still held back, at the end of the answer."""
        rest, self._held = self._held, b""
        return rest

    def _walk(self, data: bytes, at: int, end: int, found: list[tuple[int, int]]) -> int:
        """Walk on in the object; return how far that was possible."""
        read = self._object.walk(data, at, end)
        if self._object.replaced is not None:
            found.append(self._object.replaced)
        return read

    def _lines(self, data: bytes, found: list[tuple[int, int]]) -> int:
        """Walk through the lines of a stream; return how far that was possible. The end of a line ends its object."""
        at = 0
        while at < len(data):
            if not self._in_line:
                if len(data) - at < len(_DATA) and _DATA.startswith(data[at:]):
                    return at
                at = self._begin(data, at)
            line_end = data.find(b"\n", at)
            if line_end >= 0 and self._object.untouched and data.find(b'"model"', at, line_end) < 0:
                self._object.done = True  # most events of most streams
            read = self._walk(data, at, len(data) if line_end < 0 else line_end, found)
            if line_end < 0:
                return read
            at, self._in_line = line_end + 1, False
        return at

    def _begin(self, data: bytes, at: int) -> int:
        """Begin the line at *at*; return where its object may begin."""
        self._in_line = True
        if data.startswith(_DATA, at) and not self._in_event:
            self._in_event = True
            self._object = _Object(self._target)
            return at + len(_DATA)
        self._in_event = self._in_event and data[at] not in b"\r\n"  # an empty line ends an event
        self._object.done = True
        return at


_DATA = b"data:"
