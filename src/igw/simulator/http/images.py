"""`/v1/images/generations`: a diffusion model as a queue with one place, and a picture of one colour.

Work is steps times pixels times pictures at a fixed rate; nothing else of a diffusion model is simulated, and it does
not share the engine with texts. OpenAI's fields, with `num_inference_steps` as vLLM-Omni has it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
import zlib
from typing import Any, Literal

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.serving import Serving

DEFAULT_STEPS = 28
"""Denoising steps of a request that names none, as FLUX.1 [dev] recommends."""

DEFAULT_SIZE = (1024, 1024)
MOST_PICTURES = 10
MOST_STEPS = 1_000
LONGEST_SIDE = 4_096


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/v1/images/generations`."""

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    num_inference_steps: int | None = None
    seed: int | None = None


_decoder = msgspec.json.Decoder(ImageRequest)


class Picture(msgspec.Struct, frozen=True):
    """What is asked for, checked: sizes in pixels."""

    prompt: str
    pictures: int
    width: int
    height: int
    steps: int
    seed: int

    def seconds(self, step_seconds: float) -> float:
        """Return how long it takes when a step on 1024 x 1024 pixels takes `step_seconds`."""
        return self.pictures * self.steps * step_seconds * self.width * self.height / 1024**2


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""
    turn = asyncio.Lock()  # fair: who came first goes first

    async def generations(request: web.Request) -> web.Response:
        serving.check_ready()
        with serving.loaded():
            model, asked = read(await request.read())
            serving.names.adapter(model)
            async with turn:
                await asyncio.sleep(asked.seconds(serving.config.image_step_seconds) / serving.config.speed)
        return json_response(whole(asked, serving.now()))

    return [web.post("/v1/images/generations", generations)]


def read(body: bytes) -> tuple[str | None, Picture]:
    """Return the model and what is asked of it; ApiError 400 for a bad body."""
    request = decode(_decoder, body)
    if not request.prompt:
        raise ApiError(400, "prompt must not be empty.", param="prompt")
    if request.response_format == "url":
        raise ApiError(400, "response_format url is not simulated: use b64_json.", param="response_format")
    width, height = _size(request.size)
    asked = Picture(
        prompt=request.prompt,
        pictures=_within("n", request.n, 1, MOST_PICTURES),
        width=width,
        height=height,
        steps=_within("num_inference_steps", request.num_inference_steps, DEFAULT_STEPS, MOST_STEPS),
        seed=request.seed or 0,
    )
    return request.model, asked


def whole(asked: Picture, created: int) -> bytes:
    """Return the answer: the pictures, each of a colour that depends on prompt, seed and its number."""
    data = [
        {"b64_json": base64.b64encode(_drawn(asked, number)).decode(), "url": None, "revised_prompt": None}
        for number in range(asked.pictures)
    ]
    return msgspec.json.encode({"created": created, "data": data})


def png(width: int, height: int, colour: bytes) -> bytes:
    """Return a PNG file of one colour (three bytes); a palette of one entry keeps it under 3 kB for 16 megapixels."""
    row = bytes(1 + -(-width // 8))  # no filter, then a bit per pixel
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
        (b"PLTE", colour),
        (b"IDAT", zlib.compress(row * height, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def _drawn(asked: Picture, number: int) -> bytes:
    seed = f"{asked.seed}\0{number}\0{asked.prompt}".encode("utf-8", "surrogatepass")
    return png(asked.width, asked.height, hashlib.sha256(seed).digest()[:3])


def _size(size: str | None) -> tuple[int, int]:
    if size in {None, "auto"}:
        return DEFAULT_SIZE
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size or "")
    sides: Any = tuple(map(int, found.groups())) if found else ()
    if not sides or not all(1 <= side <= LONGEST_SIDE for side in sides):
        message = (
            f"size must be auto or <width>x<height> with sides of 1 to {LONGEST_SIDE} pixels, got {size!r}."
        )
        raise ApiError(400, message, param="size")
    return sides[0], sides[1]


def _within(name: str, value: int | None, default: int, most: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= most:
        raise ApiError(400, f"{name} must be from 1 to {most}, got {value}.", param=name)
    return value
