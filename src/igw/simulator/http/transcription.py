"""`/v1/audio/transcriptions` and `/v1/audio/translations`: sound in, made-up words out, run by the engine as in vLLM.

The prompt is what Whisper's encoder hands over, the answer has as many characters as somebody says in that time. From
text to sound is `speech`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from array import array
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate
from igw.simulator.http.call import Call, check_limits
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError
from igw.simulator.http.forms import Form, read_form
from igw.simulator.http.speech import CHARACTERS_PER_SECOND
from igw.simulator.http.stream import DONE
from igw.simulator.http.usage import Ended, stream_usage
from igw.simulator.serving import Serving
from igw.simulator.text import TOKEN_BYTES, answer, tokenize

WINDOW_SECONDS = 30
WINDOW_TOKENS = 1_500
"""What Whisper's encoder makes of a window, also of one that is not full."""

UNKNOWN_BYTES_PER_SECOND = 16_000
"""Of a file that is no WAV: 128 kbit/s, a usual rate of MP3."""

MOST_FILE_BYTES = 25 * 1024 * 1024
"""vLLM's `VLLM_MAX_AUDIO_CLIP_FILESIZE_MB`."""

_FORMATS = ("json", "text", "verbose_json")
_encode = msgspec.json.encode


class AudioRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of both forms; others change nothing here and are accepted."""

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    response_format: str = "json"
    stream: bool = False
    stream_include_usage: bool = False
    max_completion_tokens: int | None = None


class Recording(msgspec.Struct, frozen=True):
    """One file that is to become text; `task` is `transcription` or `translation`."""

    task: str
    seconds: float
    asked: AudioRequest
    media_tokens: int


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of these APIs."""

    def writing(task: str, prefix: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def write(request: web.Request) -> web.StreamResponse:
            serving.check_ready()
            call, recording = read(await read_form(request), task)
            writer = partial(TranscriptWriter, recording)
            response = await generate(serving, request, lambda _body: (call, writer), prefix)
            if recording.asked.response_format == "text" and isinstance(response, web.Response):
                response.content_type, response.charset = "text/plain", "utf-8"
            return response

        return write

    return [
        web.post("/v1/audio/transcriptions", writing("transcription", "trsc-")),
        web.post("/v1/audio/translations", writing("translation", "trsl-")),
    ]


def read(form: Form, task: str) -> tuple[Call, Recording]:
    """Return what is asked of the engine, and of what; ApiError 400 for a bad form."""
    asked = form.as_struct(AudioRequest)
    if asked.response_format not in _FORMATS:
        message = f"Currently only support response_format: {', '.join(_FORMATS)}."
        raise ApiError(400, message, param="response_format")
    if asked.response_format == "verbose_json" and asked.stream:
        message = "verbose_json format doesn't support streaming case."
        raise ApiError(400, message, param="response_format")
    check_limits(asked.max_completion_tokens, name="max_completion_tokens")
    file = form.file("file")
    if len(file) > MOST_FILE_BYTES:
        raise ApiError(400, "Maximum file size exceeded.", param="audio_filesize_mb")
    seconds = seconds_of(file)
    sound = _heard(file, seconds, f"{task}\0{asked.language}")
    prompt = sound + tokenize(asked.prompt)
    words = answer(prompt, max(1, round(seconds * CHARACTERS_PER_SECOND / TOKEN_BYTES)))
    call = Call(
        model=asked.model,
        prompts=(prompt,),
        max_tokens=asked.max_completion_tokens,
        said="".join(words),
        stream=asked.stream,
        include_usage=asked.stream_include_usage,
        media_tokens=len(sound),
    )
    return call, Recording(task, seconds, asked, len(sound))


def seconds_of(file: bytes) -> float:
    """Return how long a recording lasts: by the header of a WAV file, else guessed by size; ApiError 400 for a bad WAV."""
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        return len(file) / UNKNOWN_BYTES_PER_SECOND
    at, rate = 12, 0
    while at + 8 <= len(file):
        name, size = struct.unpack_from("<4sI", file, at)
        at += 8
        if name == b"fmt " and at + 12 <= len(file):
            (rate,) = struct.unpack_from("<I", file, at + 8)
        elif name == b"data" and rate:
            # The size of a file that was streamed is not known when its header is written.
            return min(size or len(file), len(file) - at) / rate
        at += size + size % 2
    raise ApiError(400, "Invalid or unsupported audio file.", param="file")


def _heard(file: bytes, seconds: float, how: str) -> array[int]:
    """Return what stands for the sound in the prompt: the same for the same file, in whole windows."""
    count = WINDOW_TOKENS * max(1, math.ceil(seconds / WINDOW_SECONDS))
    digest = hashlib.sha256(file + how.encode("utf-8", "surrogatepass")).digest()
    return array("I", hashlib.shake_128(digest).digest(count * TOKEN_BYTES))


class TranscriptWriter:
    """Words one transcription or translation."""

    def __init__(self, recording: Recording, head: Head, choices: list[Choice]) -> None:
        self._recording = recording
        self._head = head
        self._choice = choices[0]

    def whole(self, _ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        text, form = self._choice.text, self._recording.asked.response_format
        if form == "text":
            return text.encode()
        usage = {"type": "duration", "seconds": math.ceil(self._recording.seconds)}
        if form == "json":
            return _encode({"text": text, "usage": usage})
        language = "en" if self._recording.task == "translation" else self._recording.asked.language or "en"
        return _encode(
            {
                "task": "transcribe" if self._recording.task == "transcription" else "translate",
                "language": language,
                "duration": self._recording.seconds,
                "text": text,
                "segments": self._segments(),
                "words": None,
                "usage": usage,
            }
        )

    def opening(self) -> bytes:
        """Return nothing: the first chunk is the first token's."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the chunk of one token."""
        piece = self._choice.pieces[emission.total_tokens - 1]
        reason = self._choice.sequence.finish_reason if emission.reason else None
        choice = {"delta": {"content": piece}, "finish_reason": reason, "stop_reason": None}
        return self._chunk([choice])

    def closing(self, ended: Ended) -> bytes:
        """Return the usage if it was asked for, and the end."""
        if not self._recording.asked.stream_include_usage:
            return DONE
        return self._chunk([], usage=stream_usage(ended, None)) + DONE

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        start = {"id": self._head.id, "object": f"{self._recording.task}.chunk"}
        named = {"created": self._head.created, "model": self._head.model, "choices": choices}
        return b"data: " + _encode({**start, **named, **more}) + b"\n\n"

    def _segments(self) -> list[dict[str, Any]]:
        """Return a segment per window, with its share of the words."""
        pieces, seconds = self._choice.pieces, self._recording.seconds
        windows = max(1, math.ceil(seconds / WINDOW_SECONDS))
        bounds = [len(pieces) * number // windows for number in range(windows + 1)]
        return [
            {
                "id": number,
                "seek": number * WINDOW_SECONDS * 100,  # in frames of 10 ms
                "start": float(number * WINDOW_SECONDS),
                "end": min(seconds, float((number + 1) * WINDOW_SECONDS)),
                "text": "".join(shown := pieces[first:last]),
                "tokens": tokenize("".join(shown)).tolist(),
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }
            for number, (first, last) in enumerate(pairwise(bounds))
        ]
