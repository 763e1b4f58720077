"""multipart/form-data (RFC 7578, RFC 2046 section 5.1): pieces of a body, cut anywhere -> where its parts are, and the hashes of its files.

Holds no content: what a field says is a slice of the body, taken by who wants to know. Which fields an API has is in `forms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import xxhash

from igw.errors import BadRequest
from igw.parsing.long_strings import Arriving

_PARAMETER = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)
_BOUNDARY = re.compile(r"[ -~]{0,199}[!-~]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FOLD = re.compile(rb"\r\n[ \t]+")
_MOST_PADDING_BYTES = 64
_AFTER = re.compile(rb"--|[ \t]{0,%d}\r\n" % _MOST_PADDING_BYTES)
_AFTER_CUT = re.compile(rb"(?:-|[ \t]{0,%d}\r?)\Z" % _MOST_PADDING_BYTES)
"""What the end of a piece may have cut of `_AFTER`."""


class FormLimits(msgspec.Struct, frozen=True):
    """How large a form may be, beside its body as a whole; what is over them is answered 400."""

    parts: int = 128
    """OpenAI's largest form has 16 pictures and a dozen fields."""
    header_bytes: int = 8192
    """Of one part."""
    field_bytes: int = 1 << 20
    """Of one part that is not a file."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One part of a form; its content is `body[start:end]`."""

    name: str
    start: int
    end: int
    is_file: bool = False
    """Whether it names a file (`filename`)."""
    content_type: str = ""
    """In lower case, without parameters; empty: not said."""
    hash: str = ""
    """xxh3_128 of the content of a file, in hex; empty for a field."""


class FormReader:
    """Feed it a body piece by piece; `parts()` at the end. It keeps at most a header or a delimiter of what it was fed."""

    def __init__(self, boundary: bytes, limits: FormLimits = FormLimits()) -> None:  # noqa: B008 (immutable)
        self._delimiter = b"\r\n--" + boundary
        self._limits = limits
        self._held: bytes | bytearray = b""
        self._held_at = 0  # where it stands in the body
        self._next = 0  # first byte of the window that no step has taken yet
        self._step: Callable[[FormReader, bytes | bytearray], bool] = FormReader._begin
        self._part = Part("", 0, 0)
        self._hash = xxhash.xxh3_128()
        self._parts: list[Part] = []

    def feed(self, piece: bytes | bytearray) -> None:
        """Take in the next piece.

        Raises:
            BadRequest: it is no form, or over a limit.
        """
        # All of a body at once, the usual case, is not copied.
        window = self._held + piece if self._held else piece
        self._next = 0
        while self._step(self, window):
            pass
        self._held = window[self._next :]
        self._held_at += self._next

    def parts(self) -> list[Part]:
        """Return the parts, once all was fed.

        Raises:
            BadRequest: the form has not ended.
        """
        if self._step is not FormReader._after_the_end:
            raise BadRequest("the form in the request body does not end with its boundary: it was cut off")
        return self._parts

    # Steps: each takes what it can of the window, and returns whether there may be something for the next one. --------

    def _begin(self, window: bytes | bytearray) -> bool:
        """The first delimiter has no line before it, if nothing else stands there."""
        first = self._delimiter[2:]
        if window.startswith(first):
            after = _AFTER.match(window, len(first))
            if after is not None:
                return self._delimited(window, after)
            if _AFTER_CUT.match(window, len(first)):
                return False
        elif first.startswith(window):
            return False
        self._step = FormReader._before_the_first
        return True

    def _before_the_first(self, window: bytes | bytearray) -> bool:
        self._next, after = self._find(window)
        return after is not None and self._delimited(window, after)

    def _delimited(self, window: bytes | bytearray, after: re.Match[bytes]) -> bool:
        """Go on behind a delimiter; the end of its line is left, as headers may be missing: then an empty line follows at once."""
        if after[0] == b"--":
            self._step = FormReader._after_the_end
            return True
        if len(self._parts) >= self._limits.parts:
            raise BadRequest(
                f"the form in the request body has more than {self._limits.parts} parts, the most that is allowed"
            )
        self._next = after.end() - 2
        self._step = FormReader._header
        return True

    def _header(self, window: bytes | bytearray) -> bool:
        most = self._limits.header_bytes
        end = window.find(b"\r\n\r\n", self._next, self._next + most + 6)
        if end < 0:
            if len(window) - self._next >= most + 6:
                raise BadRequest(
                    f"a part of the form in the request body has headers of more than {most} bytes"
                )
            return False
        start = self._held_at + end + 4
        self._part = _part(bytes(window[self._next + 2 : end]), start)
        self._hash.reset()
        self._next = end + 4
        self._step = FormReader._content
        return True

    def _content(self, window: bytes | bytearray) -> bool:
        end, after = self._find(window)
        part = self._part
        if part.is_file:
            with memoryview(window) as view:
                self._hash.update(view[self._next : end])
        elif self._held_at + end - part.start > self._limits.field_bytes:
            raise BadRequest(
                f"`{part.name}` of the form in the request body is longer than {self._limits.field_bytes} bytes"
            )
        self._next = end
        if after is None:
            return False
        digest = self._hash.hexdigest() if part.is_file else ""
        self._parts.append(msgspec.structs.replace(part, end=self._held_at + end, hash=digest))
        return self._delimited(window, after)

    def _after_the_end(self, window: bytes | bytearray) -> bool:
        self._next = len(window)
        return False

    def _find(self, window: bytes | bytearray) -> tuple[int, re.Match[bytes] | None]:
        """Return where the next delimiter is, and what ends it; or up to where there is none for sure, and None."""
        delimiter, at = self._delimiter, self._next
        while (found := window.find(delimiter, at)) >= 0:
            behind = found + len(delimiter)
            after = _AFTER.match(window, behind)
            if after is not None or _AFTER_CUT.match(window, behind):
                return found, after
            at = behind  # it only begins like one: a boundary holds no line end, so the next one is behind it
        return max(at, len(window) - len(delimiter) + 1), None


class ArrivingForm(Arriving):
    """The body of a form that arrives in pieces; its parts and hashes are known when it is whole."""

    __slots__ = ("_reader", "_refused", "limits")

    def __init__(self, piece: bytes | bytearray, cut_by: bytes, limits: FormLimits = FormLimits()) -> None:  # noqa: B008 (immutable)
        super().__init__(piece)
        self.limits = limits
        self._reader = FormReader(cut_by, limits)
        self._refused: BadRequest | None = None
        self._feed(piece)

    def add(self, piece: bytes) -> None:
        """Append *piece*."""
        self.extend(piece)
        self._feed(piece)

    def parts(self) -> list[Part]:
        """Return the parts.

        Raises:
            BadRequest: as the reader.
        """
        if self._refused is not None:
            raise self._refused
        return self._reader.parts()

    def _feed(self, piece: bytes | bytearray) -> None:
        if self._refused is None:
            try:
                self._reader.feed(piece)
            except BadRequest as error:
                self._refused = error  # said when the body is read, as of any other


def arriving(content_type: str, piece: bytes | bytearray) -> Arriving:
    """Return a body of that type that begins with *piece* and will be added to."""
    try:
        cut_by = boundary(content_type)
    except BadRequest:
        cut_by = None
    return Arriving(piece) if cut_by is None else ArrivingForm(piece, cut_by)


def boundary(content_type: str) -> bytes | None:
    """Return the boundary that a `content-type` header names; None if it is another type than multipart/form-data.

    Raises:
        BadRequest: it is that type, and names no boundary, or one that no body can be cut by.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    named = _parameters(";" + parameters).get("boundary", "")
    if not _BOUNDARY.fullmatch(named):
        raise BadRequest(
            "`boundary` of the content-type multipart/form-data is missing, or not 1 to 200 characters of ASCII"
        )
    return named.encode()


def _part(header: bytes, start: int) -> Part:
    content_type = disposition = ""
    for line in _FOLD.sub(b" ", header).split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        match name.strip().lower():
            case "content-disposition":
                disposition = value
            case "content-type":
                content_type = value.partition(";")[0].strip().lower()
    named = _parameters(disposition)
    if "name" not in named:
        raise BadRequest("a part of the form in the request body has no name (`content-disposition`)")
    is_file = "filename" in named or "filename*" in named
    return Part(named["name"], start, start, is_file, content_type)


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header, those that were quoted without their quotes."""
    return {
        name.lower(): _ESCAPED.sub(r"\1", quoted) or bare for name, quoted, bare in _PARAMETER.findall(value)
    }
