"""gRPC's framing: whole, in pieces, compressed, and what is none."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest, TooLarge
from igw.parsing.grpc_frames import Messages, framed, only_message

COMPRESSORS: list[Callable[[bytes], bytes]] = [gzip.compress, zlib.compress]


def compressed(message: bytes, compress: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    data = compress(message)
    return b"\1" + len(data).to_bytes(4, "big") + data


@given(st.binary())
def test_the_message_of_a_body_is_a_slice_of_it(message: bytes) -> None:
    """Nothing is copied."""
    body = framed(message)
    found = only_message(body)
    assert message == found
    assert body is found.obj


@pytest.mark.parametrize("compress", COMPRESSORS)
@given(message=st.binary())
def test_gzip_and_deflate_are_inflated(compress: Callable[[bytes], bytes], message: bytes) -> None:
    """Which of them it is is written in the data, so no header is asked."""
    assert message == only_message(compressed(message, compress))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it has 0 bytes"),
        (b"{}", "it has 2 bytes"),
        (framed(b"abc")[:-1], "2 of 3 bytes are there"),
        (framed(b"abc") * 2, "something behind"),
        (b'{"model": "llama"}', "ends inside a gRPC message"),
        (b"\x02" + framed(b"abc")[1:], "begins with byte 2"),
        (b"\1" + framed(b"abc")[1:], "neither gzip nor deflate"),
        (b"\1\0\0\0\x09" + gzip.compress(b"abc" * 99)[:9], "is cut short"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body: bytes, said: str) -> None:
    """400, whatever it is."""
    with pytest.raises(BadRequest, match=said):
        only_message(body)


def test_a_message_that_inflates_beyond_the_limit_is_refused_early() -> None:
    """Sixty-four megabytes of zeros are sixty-four kilobytes on the wire."""
    bomb = compressed(bytes(1 << 20))
    assert len(bomb) < 2000
    with pytest.raises(TooLarge):
        only_message(bomb, most_bytes=1 << 16)
    assert 1 << 20 == len(only_message(bomb, most_bytes=1 << 20))


@given(st.binary())
def test_any_body_is_a_message_or_refused(body: bytes) -> None:
    """Nothing else comes out."""
    with contextlib.suppress(BadRequest, TooLarge):
        assert len(only_message(body, 1000)) <= max(1000, len(body))


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(borders)]


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=6), st.lists(st.integers(0, 300)))
def test_messages_are_found_wherever_they_are_cut(
    messages: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    """Several in a piece, several pieces for one, empty ones and compressed ones."""
    stream = b"".join(compressed(message) if zipped else framed(message) for message, zipped in messages)
    reader = Messages(1000)
    found = [bytes(message) for piece in pieces(stream, cuts) for message in reader.feed(piece)]
    assert [message for message, _ in messages] == found


@given(st.binary(max_size=100), st.lists(st.integers(0, 300)))
def test_of_a_long_message_the_beginning_is_kept_and_the_next_is_found(
    message: bytes, cuts: list[int]
) -> None:
    """Memory does not grow with what a model server sends."""
    stream = framed(message) + framed(b"next")
    reader, found = Messages(7), []
    for piece in pieces(stream, cuts):
        found += [bytes(each) for each in reader.feed(piece)]
        assert len(reader._held) <= 12
    assert [message[:7], b"next"] == found


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_can_be_fed(stream: list[bytes]) -> None:
    """An answer that is none is nobody's fault here."""
    reader = Messages(64)
    for piece in stream:
        for message in reader.feed(piece):
            assert len(message) <= 64


def test_a_message_that_cannot_be_inflated_is_left_out() -> None:
    """The next one is read."""
    assert [b"next"] == Messages(64).feed(b"\1" + framed(b"rubbish")[1:] + framed(b"next"))
