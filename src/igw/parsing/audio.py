"""How many seconds of sound a file holds, by its container: WAV, FLAC, MP3, Ogg, MP4 (M4A) and WebM. An estimate, for weighing work.

Nothing is decoded. What a header leaves open, or a file that nobody knows, is estimated from its size; who weighs seconds is not here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

UNKNOWN_BITS_PER_SECOND = 64_000
"""Of a file whose length is not to be seen: between what browsers record (Opus, 32-128 kbit/s) and what podcasts are made of."""
_LEAST_BITS_PER_SECOND = 100
"""Less than any codec makes of sound: a header that claims more seconds than that is wrong."""
_LOOK_BYTES = 64 << 10
"""How far into a file, and how far before its end, a header is looked for."""
_MOST_BOXES = 64

WINDOW_SECONDS, WINDOW_TOKENS = 30.0, 1500
"""Whisper hears sound in windows of 30 s, the last one padded, as 1,500 frames of its encoder (Radford et al. 2022, section 2.2)."""


def seconds(file: memoryview) -> float:
    """Return how long the sound in *file* is, at least 0; 0 for an empty file."""
    found = 0.0
    for is_one, length in _CONTAINERS:
        if is_one(bytes(file[:16])):
            try:
                found = length(file)
            except (struct.error, IndexError, ZeroDivisionError, OverflowError):
                found = 0.0  # cut off or wrong: as if nobody knew it
            break
    bits = 8.0 * len(file)
    return min(found, bits / _LEAST_BITS_PER_SECOND) if found > 0 else bits / UNKNOWN_BITS_PER_SECOND


def encoder_tokens(length_seconds: float) -> int:
    """Return the tokens that a transcriber's encoder makes of a sound: whole windows, at least one."""
    return WINDOW_TOKENS * max(1, -int(-length_seconds // WINDOW_SECONDS))


def _wav(file: memoryview) -> float:
    """RIFF chunks: `fmt ` says bytes per second, `data` how many; a writer that streams leaves that at 0 or at its most."""
    at, per_second = 12, 0
    for _ in range(_MOST_BOXES):
        kind, size = struct.unpack_from("<4sI", file, at)
        if kind == b"fmt ":
            (per_second,) = struct.unpack_from("<I", file, at + 16)
        elif kind == b"data":
            there = len(file) - at - 8
            return (min(size, there) or there) / per_second
        at += 8 + size + size % 2
    return 0.0


def _flac(file: memoryview) -> float:
    """STREAMINFO is always first: 20 bits of sample rate, 36 of the number of samples (RFC 9639, section 8.2)."""
    (packed,) = struct.unpack_from(">Q", file, 18)
    return (packed & 0xF_FFFF_FFFF) / (packed >> 44)  # type: ignore[no-any-return]


_MP3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Layer III: of MPEG 1, of MPEG 2 and 2.5."""
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the version's two bits."""


def _mp3(file: memoryview) -> float:
    """The first frame's bit rate, or better its Xing or Info header: how many frames there are."""
    at = 0
    if bytes(file[:3]) == b"ID3":
        a, b, c, d = file[6:10]
        at = 10 + (a << 21 | b << 14 | c << 7 | d)
    head = bytes(file[at : at + _LOOK_BYTES])
    sync = head.find(b"\xff")
    while sync >= 0 and not _is_mp3_frame(head[sync : sync + 3]):
        sync = head.find(b"\xff", sync + 1)
    if sync < 0:
        return 0.0
    version, index = head[sync + 1] >> 3 & 3, head[sync + 2]
    rate = _MP3_RATES[version][index >> 2 & 3]
    kbits = _MP3_KBITS[version != 3][index >> 4]
    tag = max(head.find(b"Xing", sync, sync + 200), head.find(b"Info", sync, sync + 200))
    if tag >= 0:
        flags, frames = struct.unpack_from(">II", head, tag + 4)
        if flags & 1:
            return float(frames * (1152 if version == 3 else 576) / rate)
    return (len(file) - at - sync) / (125.0 * kbits)


def _is_mp3_frame(start: bytes) -> bool:
    """Whether these three bytes can begin a frame of Layer III."""
    if len(start) < 3 or start[0] != 0xFF or start[1] & 0xE6 != 0xE2:
        return False
    return start[1] >> 3 & 3 != 1 and 0 < start[2] >> 4 < 15 and start[2] >> 2 & 3 != 3


def _ogg(file: memoryview) -> float:
    """The position of the last page, in samples of the codec's rate (RFC 3533; RFC 7845: Opus counts 48 kHz, with a pre-skip)."""
    head, tail = bytes(file[:256]), bytes(file[-_LOOK_BYTES:])
    last = tail.rfind(b"OggS")
    (position,) = struct.unpack_from("<q", tail, last + 6)
    opus, vorbis = head.find(b"OpusHead"), head.find(b"\x01vorbis")
    if opus >= 0:
        (skip,) = struct.unpack_from("<H", head, opus + 10)
        return (position - skip) / 48_000  # type: ignore[no-any-return]
    if vorbis >= 0:
        (rate,) = struct.unpack_from("<I", head, vorbis + 12)
        return position / rate  # type: ignore[no-any-return]
    return 0.0


def _mp4(file: memoryview) -> float:
    """`mvhd` in `moov`, wherever that stands: boxes say how long they are (ISO 14496-12)."""
    at, end = 0, len(file)
    for _ in range(_MOST_BOXES):
        size, kind = struct.unpack_from(">I4s", file, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", file, at + 8)
            head = 16
        if kind == b"moov":
            at += head
            continue
        if kind == b"mvhd":
            at += head
            if file[at] == 1:
                scale, length = struct.unpack_from(">IQ", file, at + 20)
            else:
                scale, length = struct.unpack_from(">II", file, at + 12)
            return length / scale  # type: ignore[no-any-return]
        if size < head or at + size >= end:
            return 0.0
        at += size
    return 0.0


def _webm(file: memoryview) -> float:
    """`Duration` of the segment's `Info`, a float in units of `TimestampScale` (RFC 9559); browsers that record leave it out."""
    head = bytes(file[:_LOOK_BYTES])
    info = head.find(b"\x15\x49\xa9\x66")
    scale_at, at = head.find(b"\x2a\xd7\xb1", info), head.find(b"\x44\x89", info)
    if info < 0 or at < 0:
        return 0.0
    width = head[scale_at + 3] & 0x7F if scale_at >= 0 else 0
    nanoseconds = (
        int.from_bytes(head[scale_at + 4 : scale_at + 4 + width], "big") if 0 < width <= 8 else 1_000_000
    )
    (length,) = struct.unpack_from(">d" if head[at + 2] == 0x88 else ">f", head, at + 3)
    return length * nanoseconds / 1e9  # type: ignore[no-any-return]


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[memoryview], float]], ...] = (
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WAVE", _wav),
    (lambda head: head[:4] == b"fLaC", _flac),
    (lambda head: head[:4] == b"OggS", _ogg),
    (lambda head: head[4:8] == b"ftyp", _mp4),
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _webm),
    (lambda head: head[:3] == b"ID3" or _is_mp3_frame(head), _mp3),
)
"""How a file begins, and how its length is read."""
