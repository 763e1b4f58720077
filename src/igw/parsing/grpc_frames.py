"""gRPC's framing: messages in a body, each behind five bytes that say how long it is and whether it is compressed.

What is in a message is read elsewhere. Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message".
"""

from __future__ import annotations

import zlib
from contextlib import suppress

from igw.errors import BadRequest, TooLarge
from igw.parsing.api import Body

PREFIX_BYTES = 5

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message of a request once it is inflated: as large as a body may be by default."""

_GZIP_OR_ZLIB = 47
"""`wbits` of zlib by which it finds out itself which of the two it has; gRPC calls the latter `deflate`."""


def framed(message: bytes) -> bytes:
    """Return *message* with its prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def only_message(body: Body, most_bytes: int = MAX_MESSAGE_BYTES) -> memoryview:
    """Return the message of a call that has just one: a slice of *body*, unless it is compressed.

    Raises:
        BadRequest: the body is not one whole message, or compressed by something else than gzip or deflate.
        TooLarge: inflated it would have more than *most_bytes*.
    """
    if len(body) < PREFIX_BYTES:
        raise BadRequest(f"the request body is not a gRPC message: it has {len(body)} bytes")
    size, there = int.from_bytes(body[1:PREFIX_BYTES], "big"), len(body) - PREFIX_BYTES
    if size > there:
        raise BadRequest(f"the request body ends inside a gRPC message: {there} of {size} bytes are there")
    if size < there:
        raise BadRequest("the request body has something behind its gRPC message, and this call takes one")
    message = memoryview(body)[PREFIX_BYTES:]
    if body[0] == 0:
        return message
    if body[0] != 1:
        raise BadRequest(f"the request body is not a gRPC message: it begins with byte {body[0]}, not 0 or 1")
    return memoryview(_inflated(message, most_bytes))


def _inflated(message: memoryview, most_bytes: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = stream.decompress(message, most_bytes + 1)
    except zlib.error:
        raise BadRequest("the gRPC message is neither gzip nor deflate, and only these are read") from None
    if len(found) > most_bytes:
        raise TooLarge(f"the gRPC message is larger than {most_bytes} bytes once it is inflated")
    if not stream.eof:
        raise BadRequest("the compressed gRPC message is cut short")
    return found


class Messages:
    """Cuts what comes in pieces into messages, wherever the pieces are cut. Of a long message the first bytes are kept, the rest is let go."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held = bytearray()  # of the message that has not ended: its prefix, then what is kept of it
        self._missing = 0  # bytes of it that have not come, once the prefix is there

    def one_whole(self, piece: bytes) -> bool:
        """Return whether *piece* is one message, not compressed, and neither begins nor ends inside of one."""
        size = len(piece) - PREFIX_BYTES
        return not self._held and size >= 0 and piece.startswith(b"\0" + size.to_bytes(4, "big"))

    def feed(self, piece: bytes) -> list[memoryview]:
        """Return the messages that end in *piece*, inflated, each with its first bytes at most. What cannot be inflated is left out."""
        found: list[memoryview] = []
        rest = memoryview(piece)
        while rest:
            if not self._held and len(rest) >= PREFIX_BYTES:
                end = PREFIX_BYTES + int.from_bytes(rest[1:PREFIX_BYTES], "big")
                if end <= len(rest):  # a whole message in one piece, as most are
                    self._take(found, rest[0], rest[PREFIX_BYTES : min(end, PREFIX_BYTES + self._most_bytes)])
                    rest = rest[end:]
                    continue
            rest = self._hold(rest, found)
        return found

    def _hold(self, rest: memoryview, found: list[memoryview]) -> memoryview:
        """Take what belongs to the prefix or to the message of *rest*; return the rest of it."""
        held = self._held
        wanted = PREFIX_BYTES - len(held)
        if wanted > 0:
            held += rest[:wanted]
            if len(held) == PREFIX_BYTES:
                self._missing = int.from_bytes(held[1:], "big")
            taken = wanted
        else:
            taken = min(self._missing, len(rest))
            room = PREFIX_BYTES + self._most_bytes - len(held)
            held += rest[: min(taken, room)]
            self._missing -= taken
        if len(held) >= PREFIX_BYTES and not self._missing:
            self._take(found, held[0], memoryview(bytes(held))[PREFIX_BYTES:])
            held.clear()
        return rest[taken:]

    def _take(self, found: list[memoryview], flag: int, message: memoryview) -> None:
        if not flag:
            found.append(message)
            return
        # An answer is passed on whatever it is; of one that cannot be inflated nothing is learnt.
        with suppress(zlib.error):
            found.append(memoryview(zlib.decompressobj(_GZIP_OR_ZLIB).decompress(message, self._most_bytes)))
