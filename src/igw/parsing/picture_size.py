"""Width and height of a picture by the first bytes of its file: PNG, JPEG, GIF, WebP. Nothing is decoded."""

from __future__ import annotations

import struct

LOOK_BYTES = 192 << 10
"""How much of a file is enough: a JPEG tells its size behind its EXIF and colour profile."""

_MOST_SEGMENTS = 64
_SIDE = 1 << 16


def pixels(file: bytes) -> tuple[int, int] | None:
    """Return width and height of the picture that *file* begins; None if nobody knows it or it makes no sense."""
    try:
        found = _pixels(file)
    except (struct.error, IndexError):
        return None
    return found if found is not None and 0 < found[0] < _SIDE and 0 < found[1] < _SIDE else None


def _pixels(file: bytes) -> tuple[int, int] | None:
    if file.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", file, 16)
    if file.startswith(b"\xff\xd8"):
        return _jpeg(file)
    if file.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack_from("<HH", file, 6)
    if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
        return _webp(file)
    return None


def _jpeg(file: bytes) -> tuple[int, int] | None:
    """Segments say how long they are; a start of frame has the size (ITU T.81, B.2.2)."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        mark, kind, length = struct.unpack_from(">BBH", file, at)
        if mark != 0xFF:
            return None
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", file, at + 5)
            return width, height
        at += 2 + length
    return None


def _webp(file: bytes) -> tuple[int, int] | None:
    """The first chunk: lossy, lossless or extended (RFC 9649)."""
    kind = file[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", file, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", file, 21)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(file[24:27], "little") + 1, int.from_bytes(file[27:30], "little") + 1
    return None
