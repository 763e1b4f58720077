"""OpenAI's JSON APIs whose answer is no text: pictures and speech. What is made of files that come along is in `parsing.forms`."""

from __future__ import annotations

import msgspec

from igw.parsing import pictures
from igw.parsing.api import Api, Body, Found
from igw.parsing.json_body import decoded, model_name, need
from igw.request import Generation, Head

CHARACTERS_PER_SECOND = 15.0
"""Of speech: 150 words a minute of six bytes each."""


class Pictures(msgspec.Struct):
    """A body of `images/generations`, with `num_inference_steps` as vLLM-Omni and SGLang have it."""

    model: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    n: int | None = None
    size: str | None = None
    num_inference_steps: int | None = None


class Speech(msgspec.Struct):
    """A body of `audio/speech`."""

    model: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    speed: float | None = None
    stream: bool | None = None
    stream_format: str | None = None


_pictures = msgspec.json.Decoder(Pictures).decode
_speech = msgspec.json.Decoder(Speech).decode


def _draw(_head: Head, body: Body) -> Found:
    """The prompt is not looked at: no cache is shared by what two pictures have in common."""
    fields = decoded(_pictures, body, "images/generations")
    model = model_name(fields.model)
    need(fields.prompt, "prompt", "images/generations")
    return Found(
        model=model,
        model_value=memoryview(fields.model) if model else None,
        stream=bool(fields.stream),
        generation=pictures.work(fields.size, fields.num_inference_steps, fields.n),
    )


def _speak(_head: Head, body: Body) -> Found:
    fields = decoded(_speech, body, "audio/speech")
    model = model_name(fields.model)
    need(fields.input, "input", "audio/speech")
    speed = min(max(fields.speed or 1.0, 0.25), 4.0)  # what OpenAI allows
    return Found(
        model=model,
        model_value=memoryview(fields.model),
        stream=bool(fields.stream) or fields.stream_format == "sse",
        generation=Generation("audio", (len(fields.input) - len('""')) / CHARACTERS_PER_SECOND / speed),
    )


GENERATING_APIS: tuple[Api, ...] = (
    Api("images/generations", _draw, json=True),
    Api("audio/speech", _speak, json=True),
)
