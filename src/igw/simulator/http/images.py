"""`/v1/images`: a diffusion model as a queue with one place, and pictures of one colour each.

Work is steps times pixels times pictures at a fixed rate; nothing else of a diffusion model is simulated, and it does
not share the engine with texts. OpenAI's fields, with `num_inference_steps` as vLLM-Omni has it. Pictures that are sent
in are not looked at: their bytes only decide on the colour.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.forms import read_form
from igw.simulator.serving import Serving

DEFAULT_STEPS = 28
"""Denoising steps of a request that names none, as FLUX.1 [dev] recommends."""

DEFAULT_SIZE = (1024, 1024)
MOST_PICTURES = 10
MOST_STEPS = 1_000
MOST_SOURCES = 16
"""Pictures that one edit may start from, as in OpenAI's API."""

LONGEST_SIDE = 4_096


class VariationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `/v1/images/variations`, which all routes have."""

    model: str | None = None
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    num_inference_steps: int | None = None
    seed: int | None = None


class ImageRequest(VariationRequest, frozen=True, kw_only=True):
    """A body of `/v1/images/generations`; the fields of `/v1/images/edits`."""

    prompt: str


_decoder = msgspec.json.Decoder(ImageRequest)


class Picture(msgspec.Struct, frozen=True):
    """What is asked for, checked: sizes in pixels."""

    prompt: str
    pictures: int
    width: int
    height: int
    steps: int
    seed: int
    sources: tuple[bytes, ...] = ()
    """Of an edit or a variation: the files it starts from, a mask last."""

    def seconds(self, step_seconds: float) -> float:
        """Return how long it takes when a step on 1024 x 1024 pixels takes `step_seconds`."""
        return self.pictures * self.steps * step_seconds * self.width * self.height / 1024**2


Asked: TypeAlias = tuple[str | None, Picture]
"""The model, and what is asked of it."""


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of these APIs; they share one model, so all wait for the same turn."""
    turn = asyncio.Lock()  # fair: who came first goes first

    def drawing(read: Callable[[web.Request], Awaitable[Asked]]) -> Callable[..., Awaitable[web.Response]]:
        async def draw(request: web.Request) -> web.Response:
            serving.check_ready()
            with serving.loaded():
                model, asked = await read(request)
                serving.names.adapter(model)
                async with turn:
                    await asyncio.sleep(
                        asked.seconds(serving.config.image_step_seconds) / serving.config.speed
                    )
            return json_response(whole(asked, serving.now()))

        return draw

    return [
        web.post("/v1/images/generations", drawing(_generation)),
        web.post("/v1/images/edits", drawing(_edit)),
        web.post("/v1/images/variations", drawing(_variation)),
    ]


async def _generation(request: web.Request) -> Asked:
    return read(await request.read())


async def _edit(request: web.Request) -> Asked:
    form = await read_form(request)
    sources = form.files.get("image", [])
    if not 1 <= len(sources) <= MOST_SOURCES or not all(sources):
        message = f"image must be 1 to {MOST_SOURCES} files that are not empty."
        raise ApiError(400, message, param="image")
    mask = [form.file("mask")] if "mask" in form.files else []
    asked = form.as_struct(ImageRequest)
    return asked.model, picture(asked, _prompt(asked), (*sources, *mask))


async def _variation(request: web.Request) -> Asked:
    form = await read_form(request)
    asked = form.as_struct(VariationRequest)
    return asked.model, picture(asked, "", (form.file("image"),))


def read(body: bytes) -> Asked:
    """Return the model and what is asked of it; ApiError 400 for a bad body."""
    request = decode(_decoder, body)
    return request.model, picture(request, _prompt(request))


def _prompt(request: ImageRequest) -> str:
    if not request.prompt:
        raise ApiError(400, "prompt must not be empty.", param="prompt")
    return request.prompt


def picture(request: VariationRequest, prompt: str, sources: tuple[bytes, ...] = ()) -> Picture:
    """Return what is asked for; ApiError 400 for what cannot be drawn."""
    if request.response_format == "url":
        raise ApiError(400, "response_format url is not simulated: use b64_json.", param="response_format")
    width, height = _size(request.size)
    return Picture(
        prompt=prompt,
        pictures=_within("n", request.n, 1, MOST_PICTURES),
        width=width,
        height=height,
        steps=_within("num_inference_steps", request.num_inference_steps, DEFAULT_STEPS, MOST_STEPS),
        seed=request.seed or 0,
        sources=sources,
    )


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
    digest = hashlib.sha256(seed)
    for source in asked.sources:
        digest.update(source)
    return png(asked.width, asked.height, digest.digest()[:3])


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
