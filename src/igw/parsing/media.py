"""Images, videos, sounds and documents in the content of messages: what each is, and a place in the prompt as long as it weighs.

Blocks of OpenAI's chat and responses and of Anthropic's messages. Pictures and sounds in forms are in `forms`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw
from xxhash import xxh3_128_hexdigest

from igw.errors import BadRequest
from igw.parsing import audio
from igw.parsing.api import Body, Found
from igw.parsing.long_strings import Run, Short
from igw.parsing.picture_size import LOOK_BYTES, pixels
from igw.request import Head, Media

PIXELS_PER_TOKEN = 1024
DEFAULT_PIXELS = (640, 360)
"""Of a picture that is not there or whose size nobody knows. Both figures are upstream's."""
FRAMES_PER_SECOND = 1
"""Of a video: 2 are looked at in a second (upstream's `sampleFPS`), two make one (Qwen-VL's temporal patch)."""
DEFAULT_SECONDS = 10.0
"""Of a video or sound that is not there. Upstream's figure."""
VIDEO_BYTES_PER_SECOND = 250_000
"""Of a video that is there: 2 Mbit/s, a guess."""
SOUND_TOKENS_PER_SECOND = 25
"""Of Qwen's audio models. Whisper's encoder has 50, and no text around it."""
DOCUMENT_BYTES_PER_TOKEN = 50
"""A page of a PDF is some 100 KB and 2,000 tokens, a guess."""
MOST_TOKENS = 131_072

_DURATION, _RESOLUTION = "x-llm-d-video-duration-seconds", "x-llm-d-video-resolution"
_SIZE = re.compile(r"\s*(\d{1,5})x(\d{1,5})\s*")


class _Typed(msgspec.Struct, gc=False):
    """A block of content, as far as it takes to see that it is text."""

    type: str = ""


class _Message(msgspec.Struct, gc=False):
    """A message or another item, likewise."""

    content: str | list[_Typed] | None = None
    output: str | list[_Typed] | None = None


_TEXT = frozenset({
    "text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal", "thinking", "redacted_thinking", "tool_use",
})  # fmt: skip


class _Block(msgspec.Struct):
    """A message or a block of its content: the fields of all APIs in which a medium may stand."""

    type: str = ""
    content: str | list[_Block | str] | None = None
    output: str | list[_Block | str] | None = None
    image_url: Raw = Raw()
    video_url: Raw = Raw()
    audio_url: Raw = Raw()
    input_audio: Raw = Raw()
    file: Raw = Raw()
    file_url: Raw = Raw()
    file_data: Raw = Raw()
    source: Raw = Raw()


class _Source(msgspec.Struct):
    """Where a block has its medium: `image_url`, `input_audio` and `file` of chat, `source` of Anthropic's."""

    url: Raw = Raw()
    data: Raw = Raw()
    file_data: Raw = Raw()
    media_type: str = ""


_messages = msgspec.json.Decoder(list[_Message]).decode
_blocks = msgspec.json.Decoder(list[_Block | str]).decode
_source = msgspec.json.Decoder(_Source).decode

_FIELDS = {
    "image_url": "image", "video_url": "video", "audio_url": "audio", "input_audio": "audio", "file": "document",
    "file_url": "document", "file_data": "document", "source": "image",
}  # fmt: skip
"""In which a medium stands, and its kind unless it says so itself."""
_FIELDS_BY_TYPE: Mapping[str, Iterable[str]] = {
    "": _FIELDS,
    "image_url": ("image_url",), "video_url": ("video_url",), "audio_url": ("audio_url",), "input_audio": ("input_audio",),
    "file": ("file",), "input_image": ("image_url",), "input_file": ("file_url", "file_data"), "image": ("source",),
    "document": ("source",),
}  # fmt: skip
_KINDS = {"image": "image", "video": "video", "audio": "audio", "application": "document"}


def may_have_media(text: Body, contents: Sequence[Raw]) -> bool:
    """Return whether any message in *contents*, slices of *text*, has a block that is not text: a look that costs little.

    *text* is some JSON that was decoded.
    """
    if not _has_blocks(text):
        return False
    try:
        for raw in contents:
            for message in _messages(raw) if len(raw) else ():
                for blocks in (message.content, message.output):
                    if isinstance(blocks, list):
                        for block in blocks:
                            if block.type not in _TEXT:
                                return True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # something else; who looks for media will see
    return False


def _has_blocks(text: Body) -> bool:
    """Return whether there may be a list of objects beside that of the messages: brackets that texts have are followed by something else."""
    at, lists = -1, 0
    for _ in range(_FEW):
        at = text.find(b"[", at + 1)
        if at < 0:
            return lists > 1
        lists += text[at + 1] in b"{ \n\r\t"
        if lists > 1:
            return True
    column = np.frombuffer(text, np.uint8)
    behind = column[np.flatnonzero(column == ord("[")) + 1]
    return int(((behind == ord("{")) | (behind <= ord(" "))).sum()) > 1


_FEW = 64  # so many one by one, NumPy for more


class _Place(msgspec.Struct, frozen=True):
    """What stands in the prompt's text between two addresses, and what takes its place."""

    start: int
    end: int
    by: memoryview


def with_media(found: Found, head: Head, short: Short | None, most: int) -> Found:
    """Return *found* with the media in its `contents`, and each in its place in the prompt: its hash, as long as its tokens.

    So what is hashed and counted of an image is what the engine makes of it. Of *short*, other long strings are put back.

    Raises:
        BadRequest: there are more than *most*.
    """
    values = _values(found.contents)
    if not values and short is None:
        return found
    if len(values) > most:
        raise BadRequest(f"the request has more than {most} images, videos, sounds and documents")
    runs: dict[int, Run] = {}
    if short is not None:
        base = _address(short.text)
        runs = {base + at + len(run.digest): run for at, run in short.places}
    media: list[Media] = []
    places: dict[int, _Place] = {}
    for kind, value in values:
        start = _address(value)
        end = start + value.nbytes
        run = runs.get(end)
        long = memoryview(short.body)[run.start : run.end] if run is not None and short is not None else None
        each = _medium(kind, value, long, run.digest if run is not None else "", head.headers)
        media.append(each)
        places[start] = _Place(start, end, _filler(each))
    taken = {place.end for place in places.values()}
    for end, run in runs.items():
        if end not in taken and short is not None:
            start = end - len(run.digest)
            places[start] = _Place(start, end, memoryview(short.body)[run.start : run.end])
    prompt = found.prompt
    if places:
        prompt = _replaced(prompt, [places[start] for start in sorted(places)])
    name = found.model_value
    if short is not None and name:
        name = short.original(_address(name) - _address(short.text), name.nbytes)
    return msgspec.structs.replace(found, prompt=prompt, media=found.media + tuple(media), model_value=name)


def _values(contents: Sequence[Raw]) -> list[tuple[str, memoryview]]:
    """Return kind and string, without its quotes, of the media in *contents*. What is of no known form has none: the engine will say so."""
    found: list[tuple[str, memoryview]] = []
    for raw in contents:
        try:
            if len(raw):
                _look(_blocks(raw), found)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found


def _look(blocks: Iterable[_Block | str], found: list[tuple[str, memoryview]]) -> None:
    for block in blocks:
        if isinstance(block, str):
            continue
        content, output = block.content, block.output
        if isinstance(content, list):
            _look(content, found)
        if isinstance(output, list):
            _look(output, found)
        # vLLM goes by the field where the type is left out; a message has content and no type.
        if block.type or content is None:
            for field in _FIELDS_BY_TYPE.get(block.type, ()):
                value = getattr(block, field)
                if len(value) > len('""'):
                    _take(memoryview(value), _FIELDS[field], found)


def _take(value: memoryview, kind: str, found: list[tuple[str, memoryview]]) -> None:
    if value[0] == ord('"'):
        found.append((kind, value[1:-1]))
    elif value[0] == ord("{"):
        source: _Source = _source(value)
        if source.media_type.startswith("text/"):
            return  # a document that is prompt as it stands
        kind = _KINDS.get(source.media_type.partition("/")[0], kind)
        strings = [
            memoryview(each) for each in (source.url, source.data, source.file_data) if len(each) > len('""')
        ]
        found += [(kind, each[1:-1]) for each in strings if each[0] == ord('"')]


def _medium(
    kind: str, value: memoryview, long: memoryview | None, digest: str, headers: Mapping[str, str]
) -> Media:
    """Return the medium of *value*: an URL, a data URL or base64; *long* is the base64 with its *digest* if that was put aside."""
    content, inline = value, long is not None
    start = bytes(value[:256])
    if start.startswith(b"data:"):
        kind = _KINDS.get(start[5:20].partition(b"/")[0].decode("latin-1"), kind)
        content, inline = value[start.find(b",") + 1 :], True
    elif not inline:
        inline = b":" not in start[:16]  # no scheme: it is base64 by itself
    content = long if long is not None else content
    size = content.nbytes if inline else 0
    look = _LOOK_BYTES[kind] if kind != "image" or content[:4] == _JPEG else _HEAD_BYTES
    file = _decoded(content[: look * 4 // 3]) if inline else b""
    tokens = max(1, round(min(MOST_TOKENS, _TOKENS[kind](file, size * 3 // 4, headers))))
    return Media(kind, digest or xxh3_128_hexdigest(content), tokens, size)


def _decoded(content: memoryview) -> bytes:
    """Return the bytes of a file, or its first, in base64; what is no base64 gives some bytes that nobody knows."""
    text = bytes(content).replace(b"\\", b"")
    try:
        return binascii.a2b_base64(text[: len(text) & ~3])
    except binascii.Error:
        return b""


def _picture(file: bytes, _size: int, _headers: Mapping[str, str]) -> float:
    width, height = pixels(file) or DEFAULT_PIXELS
    return width * height / PIXELS_PER_TOKEN


def _video(_file: bytes, size: int, headers: Mapping[str, str]) -> float:
    said, shape = headers.get(_DURATION, ""), _SIZE.fullmatch(headers.get(_RESOLUTION, ""))
    seconds = size / VIDEO_BYTES_PER_SECOND if size else DEFAULT_SECONDS
    if said.replace(".", "", 1).isascii() and said.replace(".", "", 1).isdigit():
        seconds = float(said)
    width, height = (int(shape[1]), int(shape[2])) if shape else DEFAULT_PIXELS
    return seconds * FRAMES_PER_SECOND * width * height / PIXELS_PER_TOKEN


def _sound(file: bytes, size: int, _headers: Mapping[str, str]) -> float:
    if not size:
        return DEFAULT_SECONDS * SOUND_TOKENS_PER_SECOND
    if size > _LOOK_BYTES["audio"]:
        return size * 8 / audio.UNKNOWN_BITS_PER_SECOND * SOUND_TOKENS_PER_SECOND
    return audio.seconds(memoryview(file)) * SOUND_TOKENS_PER_SECOND


def _document(_file: bytes, size: int, _headers: Mapping[str, str]) -> float:
    return size / DOCUMENT_BYTES_PER_TOKEN if size else DEFAULT_SECONDS * 200


_TOKENS: Mapping[str, Any] = {"image": _picture, "video": _video, "audio": _sound, "document": _document}
"""The file or its first bytes, its size (0 for one that is not there) and the request's headers -> tokens."""
_LOOK_BYTES = {"image": LOOK_BYTES, "video": 0, "audio": 4 << 20, "document": 0}
"""How much of a file is decoded. A sound's length may stand anywhere in it."""
_HEAD_BYTES = 96
"""Of a picture that is no JPEG."""
_JPEG = b"/9j/"


def _filler(medium: Media) -> memoryview:
    """Return four bytes per token that are the same for the same medium and no other: all of its hash at least."""
    hashed = medium.hash.encode()
    length = max(len(hashed), medium.tokens * 4)
    return memoryview(hashed * (length // len(hashed) + 1))[:length]


def _replaced(prompt: Sequence[memoryview], places: list[_Place]) -> tuple[memoryview, ...]:
    """Return *prompt* with the *places* in it, which are in ascending order, replaced."""
    parts: list[memoryview] = []
    for part in prompt:
        if not part.nbytes:
            continue
        at, begin = 0, _address(part)
        for place in places:
            if begin <= place.start and place.end <= begin + part.nbytes:
                parts += [part[at : place.start - begin], place.by]
                at = place.end - begin
        parts.append(part[at:])
    return tuple(parts)


def _address(buffer: bytes | memoryview) -> int:
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address
