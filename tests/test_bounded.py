"""Answers that come in pieces, and those that are too long."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from igw.bounded import whole


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    """Yield pieces of these sizes."""
    for size in sizes:
        yield b"x" * size


async def test_all_pieces_are_waited_for() -> None:
    """As many bytes as may be are not too many."""
    assert await whole(pieces(3, 0, 4), 7, "it") == b"x" * 7
    assert await whole(pieces(), 0, "it") == b""


async def test_what_is_too_long_is_not_read_to_its_end() -> None:
    """The sentence says what it is."""
    coming = pieces(4, 4, 4)
    with pytest.raises(ValueError, match="the page has more than 7 bytes"):
        await whole(coming, 7, "the page")
    assert [piece async for piece in coming] == [b"x" * 4]
