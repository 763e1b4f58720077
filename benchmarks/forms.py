"""Forms: what it costs to find the parts of a body and to hash its file, whole and in pieces."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.picks import best
from igw.parsing.multipart import FormReader
from igw.parsing.reading import read
from igw.request import Head

_SIZES = {"1 KB": 1 << 10, "32 KB": 32 << 10, "1 MB": 1 << 20, "20 MB": 20 << 20}
_BOUNDARY = b"0123456789abcdef0123456789abcdef"  # as long as that of OpenAI's SDK (httpx)
_PIECE_BYTES = 64 << 10


def transcription(size: int) -> bytes:
    """Return a form with a model and a file of *size* bytes that look like sound."""
    parts = [
        b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper',
        b'Content-Disposition: form-data; name="file"; filename="a.ogg"\r\nContent-Type: audio/ogg\r\n\r\nOggS'
        + random.Random(size).randbytes(size),
    ]
    return (
        b"".join(b"--" + _BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts)
        + b"--"
        + _BOUNDARY
        + b"--\r\n"
    )


def forms() -> list[dict[str, Any]]:
    """Return microseconds of CPU per body."""
    head = Head(
        "/v1/audio/transcriptions",
        "POST",
        {"content-type": f"multipart/form-data; boundary={_BOUNDARY.decode()}"},
    )
    rows = []
    for name, size in _SIZES.items():
        body, times = transcription(size), max(2, 20_000_000 // (size + 20_000))
        pieces = [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)]

        def whole(body: bytes = body) -> None:
            FormReader(_BOUNDARY).feed(body)

        def in_pieces(pieces: list[bytes] = pieces) -> None:
            reader = FormReader(_BOUNDARY)
            for piece in pieces:
                reader.feed(piece)

        rows.append(
            {
                "case": name,
                "request": best(lambda body=body: read(head, body), times),  # type: ignore[misc]
                "of it: parts and hash": best(whole, times),
                "in pieces of 64 KB": best(in_pieces, times),
                "plain copy": best(lambda body=body: bytearray(body), times),  # type: ignore[misc]
            }
        )
    return rows
