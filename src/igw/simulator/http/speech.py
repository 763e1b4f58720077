"""`/v1/audio/speech`: a model that speaks as a queue with one place, and a hum that lasts as long as the text.

The other way, from sound to text, is in `transcription`. It takes `speechRealTimeFactor` seconds per second of sound and
does not share the engine with texts.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import struct
from typing import Literal

import msgspec
from aiohttp import web

from igw.simulator.http.errors import ApiError, decode
from igw.simulator.serving import Serving

CHARACTERS_PER_SECOND = 15
"""English at 150 words a minute, six characters each with the blank."""

SAMPLES_PER_SECOND = 24_000
"""Of one channel with 16 bits, as OpenAI's `pcm` has them."""

MOST_CHARACTERS = 4_096
_SAMPLE_BYTES = 2
_FORMATS = {"wav": "audio/wav", "pcm": "audio/pcm"}


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/v1/audio/speech`; `wav` unless told, as in vLLM-Omni, while OpenAI's own default is `mp3`."""

    input: str
    model: str | None = None
    voice: str | dict[str, str] | None = None
    response_format: Literal["wav", "pcm", "mp3", "opus", "aac", "flac"] = "wav"
    speed: float = 1.0
    stream_format: Literal["audio", "sse"] = "audio"


_decoder = msgspec.json.Decoder(SpeechRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the route of this API."""
    turn = asyncio.Lock()  # fair: who came first goes first

    async def speech(request: web.Request) -> web.Response:
        serving.check_ready()
        with serving.loaded():
            asked = read(await request.read())
            serving.names.adapter(asked.model)
            async with turn:
                work = seconds(asked) * serving.config.speech_real_time_factor
                await asyncio.sleep(work / serving.config.speed)
        samples = hum(asked)
        body = samples if asked.response_format == "pcm" else wav(samples)
        return web.Response(body=body, content_type=_FORMATS[asked.response_format])

    return [web.post("/v1/audio/speech", speech)]


def read(body: bytes) -> SpeechRequest:
    """Return what is to be spoken; ApiError 400 for what is bad or cannot be made here."""
    asked = decode(_decoder, body)
    if not 1 <= len(asked.input) <= MOST_CHARACTERS:
        message = f"input must have 1 to {MOST_CHARACTERS} characters, got {len(asked.input)}."
        raise ApiError(400, message, param="input")
    if asked.response_format not in _FORMATS:
        message = f"response_format {asked.response_format} is not simulated: use {' or '.join(_FORMATS)}."
        raise ApiError(400, message, param="response_format")
    if not 0.25 <= asked.speed <= 4.0:
        raise ApiError(400, f"speed must be from 0.25 to 4, got {asked.speed}.", param="speed")
    if asked.stream_format == "sse":
        raise ApiError(400, "stream_format sse is not simulated: use audio.", param="stream_format")
    return asked


def seconds(asked: SpeechRequest) -> float:
    """Return how long the sound lasts."""
    return len(asked.input) / CHARACTERS_PER_SECOND / asked.speed


def hum(asked: SpeechRequest) -> bytes:
    """Return the samples: a sine of 200 to 400 Hz, whose pitch depends on text and voice."""
    seed = f"{asked.voice}\0{asked.input}".encode("utf-8", "surrogatepass")
    period = 60 + hashlib.sha256(seed).digest()[0] % 61
    wave = [round(8_000 * math.sin(2 * math.pi * at / period)) for at in range(period)]
    samples = max(1, round(seconds(asked) * SAMPLES_PER_SECOND))
    packed = struct.pack(f"<{period}h", *wave)
    return (packed * -(-samples // period))[: samples * _SAMPLE_BYTES]


def wav(samples: bytes) -> bytes:
    """Return a WAV file of *samples*."""
    form = (1, 1, SAMPLES_PER_SECOND, SAMPLES_PER_SECOND * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", 36 + len(samples), b"WAVE"),
            struct.pack("<4sIHHIIHH", b"fmt ", 16, *form),
            struct.pack("<4sI", b"data", len(samples)),
            samples,
        )
    )
