"""What somebody beside the model servers answers, whole but not without a limit. When they may be asked is `patience`."""

from __future__ import annotations

from collections.abc import AsyncIterable


async def whole(pieces: AsyncIterable[bytes], most_bytes: int, what: str) -> bytes:
    """Return *pieces* (`StreamReader.iter_any()` of aiohttp, whose `read(n)` returns the first of them) in one.

    Raises:
        ValueError: they have more than *most_bytes*; no more is read. *what* says of what.
    """
    found, size = [], 0
    async for piece in pieces:
        size += len(piece)
        if size > most_bytes:
            raise ValueError(f"{what} has more than {most_bytes} bytes")
        found.append(piece)
    return b"".join(found)
