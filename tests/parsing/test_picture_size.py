"""Width and height by the head of a file; what makes no sense is not known."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.parsing.picture_size import pixels
from tests.parsing.samples import png


def jpeg(width: int, height: int, exif: int = 100) -> bytes:
    """Return a JPEG's segments up to its size."""
    app = b"\xff\xe1" + struct.pack(">H", exif) + bytes(exif - 2)
    return b"\xff\xd8" + app + b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1)


def webp(kind: bytes, rest: bytes) -> bytes:
    """Return a WebP file with one chunk."""
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest


@pytest.mark.parametrize(
    ("file", "size"),
    [
        (png(1024, 768), (1024, 768)),
        (jpeg(800, 600), (800, 600)),
        (jpeg(800, 600, exif=65_535), (800, 600)),
        (b"GIF89a" + struct.pack("<HH", 320, 200), (320, 200)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 640, 360)), (640, 360)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 359 << 14)), (640, 360)),
        (webp(b"VP8X", bytes(4) + (639).to_bytes(3, "little") + (359).to_bytes(3, "little")), (640, 360)),
        (png(0, 768), None),
        (png(1 << 20, 768), None),
        (jpeg(800, 600)[:40], None),
        (b"\xff\xd8" + b"junk" * 9, None),
        (webp(b"ALPH", bytes(20)), None),
        (b"BM junk", None),
        (b"", None),
    ],
)
def test_the_head_of_a_file_tells_its_size(file: bytes, size: tuple[int, int] | None) -> None:
    """Behind whatever a camera puts before it."""
    assert pixels(file) == size


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF89a", b"RIFF\0\0\0\0WEBP"]),
    st.binary(max_size=99),
)
def test_no_file_makes_it_fall_over(start: bytes, rest: bytes) -> None:
    """Law: a size that makes sense, or none."""
    found = pixels(start + rest)
    assert found is None or min(found) > 0
