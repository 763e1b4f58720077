"""Seconds of sound: files of every container as their formats lay them down, and estimates for all else."""

from __future__ import annotations

import io
import math
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.parsing.audio import UNKNOWN_BITS_PER_SECOND, encoder_tokens, seconds


def wav(length_seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """Return a WAV file as the standard library writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(round(length_seconds * rate) * channels * 2))
    return file.getvalue()


def wav_with(chunk: bytes, length_seconds: float, said: int | None = None) -> bytes:
    """Return a WAV file with another chunk before its data, which says to be so long."""
    plain = wav(length_seconds)
    data = plain[44:]
    size = len(data) if said is None else said
    return (
        plain[:36]
        + b"LIST"
        + struct.pack("<I", len(chunk))
        + chunk
        + b"\0" * (len(chunk) % 2)
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def flac(samples: int, rate: int) -> bytes:
    """Return the first metadata block of a FLAC file, and some frames."""
    info = (
        struct.pack(">HH", 4096, 4096)
        + bytes(6)
        + struct.pack(">Q", rate << 44 | 1 << 41 | 15 << 36 | samples)
    )
    return b"fLaC" + b"\x80\0\0\x22" + info + bytes(16) + b"f" * 200_000


def mp3(frames: int, *, tag: bytes = b"", mpeg: int = 3, id3: int = 0) -> bytes:
    """Return frames of 64 kbit/s; *tag* stands in the first, behind an ID3 header of that size."""
    rate, code, samples = (44_100, 5, 1152) if mpeg == 3 else (22_050, 8, 576)
    size = samples // 8 * 64_000 // rate
    head = bytes([0xFF, 0xE2 | mpeg << 3 | 1, code << 4, 0xC0])
    first = (head + bytes(32) + tag).ljust(size, b"\0")
    said = (
        b"ID3\x04\0\0" + bytes([id3 >> 21 & 127, id3 >> 14 & 127, id3 >> 7 & 127, id3 & 127]) + bytes(id3)
        if id3
        else b""
    )
    return said + first + (head.ljust(size, b"\0")) * (frames - 1)


def ogg(codec: bytes, last: int) -> bytes:
    """Return a first page with the codec's header and a last one that ends at sample *last*."""

    def page(position: int, content: bytes) -> bytes:
        return b"OggS\0\0" + struct.pack("<qIIIB", position, 7, 0, 0, 1) + bytes([len(content)]) + content

    return page(0, codec) + page(48_000, b"s" * 200) * 20 + page(last, b"s" * 200)


OPUS = b"OpusHead\x01\x01" + struct.pack("<HIhB", 312, 16_000, 0, 0)
VORBIS = b"\x01vorbis" + struct.pack("<IBIiii", 0, 1, 44_100, 0, 64_000, 0)


def box(kind: bytes, content: bytes, *, wide: bool = False) -> bytes:
    """Return an MP4 box."""
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mp4(length: int, scale: int, *, version: int = 0, first: bool = False, wide: bool = False) -> bytes:
    """Return an M4A file whose `moov` comes before or after its data."""
    times = struct.pack(">QQIQ" if version else ">IIII", 0, 0, scale, length)
    moov = box(b"moov", box(b"mvhd", bytes([version, 0, 0, 0]) + times + bytes(80)))
    data = box(b"mdat", b"d" * 200_000, wide=wide)
    kind = box(b"ftyp", b"M4A \0\0\0\0")
    return kind + (moov + data if first else box(b"free", b"") + data + moov)


def webm(duration: bytes, scale: bytes = b"\x2a\xd7\xb1\x83\x0f\x42\x40") -> bytes:
    """Return the head of a WebM file; *scale* of 1,000,000 ns is written in three bytes."""
    return (
        b"\x1a\x45\xdf\xa3\x84\x42\x82\x80\0"
        + b"\x18\x53\x80\x67\xff"
        + b"\x15\x49\xa9\x66\x9f"
        + scale
        + duration
        + b"c" * 50_000
    )


@pytest.mark.parametrize(
    ("file", "length"),
    [
        (wav(2.5), 2.5),
        (wav(1.25, 44_100, 2), 1.25),
        (wav_with(b"INFO!", 2.0), 2.0),
        (wav_with(b"", 2.0, 0xFFFF_FFFF), 2.0),
        (wav_with(b"", 2.0, 0), 2.0),
        (flac(480_000, 48_000), 10.0),
        (flac((1 << 33) + 5, 655_350), ((1 << 33) + 5) / 655_350),
        (mp3(100), 100 * 208 / 8000),
        (mp3(100, mpeg=2), len(mp3(100, mpeg=2)) / 8000),
        (mp3(3, tag=b"Xing" + struct.pack(">II", 1, 1000)), 1000 * 1152 / 44_100),
        (mp3(3, tag=b"Info" + struct.pack(">II", 3, 1000), mpeg=2), 1000 * 576 / 22_050),
        (mp3(100, id3=3000), 100 * 208 / 8000),
        (ogg(OPUS, 480_312), 10.0),
        (ogg(VORBIS, 441_000), 10.0),
        (mp4(5_000, 1_000), 5.0),
        (mp4(220_500, 44_100, version=1, first=True), 5.0),
        (mp4(5_000, 1_000, wide=True), 5.0),
        (webm(b"\x44\x89\x88" + struct.pack(">d", 7500.0)), 7.5),
        (webm(b"\x44\x89\x84" + struct.pack(">f", 7500.0)), 7.5),
        (webm(b"\x44\x89\x88" + struct.pack(">d", 7500.0), b"\x2a\xd7\xb1\x83\x1e\x84\x80"), 15.0),
        (webm(b"\x44\x89\x88" + struct.pack(">d", 7500.0), b""), 7.5),
    ],
)  # fmt: skip
def test_each_container_says_how_long_it_is(file: bytes, length: float) -> None:
    """In its header, at its end, or by its bit rate."""
    assert seconds(memoryview(file)) == pytest.approx(length, rel=0.02)
    assert seconds(memoryview(bytearray(file))) == seconds(memoryview(file))


@pytest.mark.parametrize(
    "file",
    [
        b"x" * 8000,
        wav(1.0)[:20] + b"x" * 8000,
        b"fLaC" + b"\0" * 8000,
        flac(0, 48_000)[:20],
        ogg(b"Speex   " + bytes(40), 480_000),
        ogg(OPUS, -1),
        box(b"ftyp", b"M4A ") + box(b"mdat", b"d" * 9000),
        box(b"ftyp", b"M4A ") + struct.pack(">I4s", 3, b"mdat") + b"d" * 9000,
        webm(b""),
        webm(b"\x44\x89\x88" + struct.pack(">d", math.nan)),
        b"ID3\x04\0\0\0\0\0\0" + b"x" * 9000,
    ],
)
def test_what_cannot_be_seen_is_estimated_by_size(file: bytes) -> None:
    """Cut off, recorded without a length, of a codec nobody knows: 64 kbit/s."""
    assert seconds(memoryview(file)) == 8 * len(file) / UNKNOWN_BITS_PER_SECOND


def test_no_header_is_believed_that_claims_more_than_a_file_can_hold() -> None:
    """A day of sound in some kilobytes is wrong: less than 100 bits a second."""
    file = webm(b"\x44\x89\x88" + struct.pack(">d", math.inf))
    assert seconds(memoryview(file)) == 8 * len(file) / 100


@given(
    st.sampled_from([wav(1.0), flac(9, 9), mp3(9), ogg(OPUS, 9), ogg(VORBIS, 9), mp4(9, 9), webm(b"\x44\x89\x88" + bytes(8))]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
    st.integers(0, 3000),
)  # fmt: skip
def test_any_bytes_have_a_length(file: bytes, changes: list[tuple[int, int]], kept: int) -> None:
    """Finite, not below 0, whatever is broken."""
    broken = bytearray(file[:kept])
    for at, value in changes:
        if at < len(broken):
            broken[at] = value
    length = seconds(memoryview(broken))
    assert 0 <= length < math.inf
    assert (length > 0) == (len(broken) > 0)


@pytest.mark.parametrize(
    ("length", "tokens"), [(0.0, 1500), (1.0, 1500), (30.0, 1500), (30.1, 3000), (61.0, 4500)]
)
def test_a_transcriber_hears_whole_windows(length: float, tokens: int) -> None:
    """The last one is padded."""
    assert encoder_tokens(length) == tokens
