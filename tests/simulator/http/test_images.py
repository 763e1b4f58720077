"""Pictures: how long they take, and that they are pictures."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from typing import Any

import aiohttp
import pytest

from igw.simulator.http.errors import ApiError
from igw.simulator.http.images import Picture, png, read
from igw.simulator.manifest import SimulatorSpec
from tests.simulator.site import Site, start

IMAGES = "/v1/images/generations"


def picture(**fields: Any) -> Picture:
    """What a body with these fields asks for."""
    return read(json.dumps({"prompt": "a boat"} | fields).encode())[1]


def pixels(file: bytes) -> tuple[int, int, bytes]:
    """Width, height and the bytes of all rows of a PNG; every checksum is checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    parts, at = {}, 8
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        body = file[at + 4 : at + 8 + length]
        assert struct.unpack(">I", file[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        parts[body[:4]] = body[4:]
        at += 12 + length
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    return width, height, zlib.decompress(parts[b"IDAT"])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9, 3), (1024, 768), (4096, 4096)])
def test_a_picture_is_a_small_png_of_the_size_asked_for(width: int, height: int) -> None:
    """Two megabytes of pixels are 2 kB."""
    file = png(width, height, b"abc")
    assert pixels(file)[:2] == (width, height)
    assert len(pixels(file)[2]) == height * (1 + -(-width // 8))
    assert len(file) < 3000


def test_work_is_steps_times_pixels_times_pictures() -> None:
    """28 steps on a megapixel unless told."""
    assert picture().seconds(0.1) == pytest.approx(2.8)
    assert picture(n=2, size="512x1024", num_inference_steps=10).seconds(0.1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"size": "big"}, "size"),
        ({"size": "0x5"}, "size"),
        ({"size": "5x99999"}, "size"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"response_format": "url"}, "response_format"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields: dict[str, Any], param: str) -> None:
    """With the field named."""
    with pytest.raises(ApiError) as caught:
        picture(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


async def test_the_sdk_gets_the_same_pictures_for_the_same_prompt(site: Site) -> None:
    """And others for another; each of several is another."""

    async def drawn(prompt: str) -> list[str | None]:
        reply = await site.openai.images.generate(model="demo", prompt=prompt, n=2, size="256x256")
        return [each.b64_json for each in reply.data or []]

    first = await drawn("a boat")
    assert first == await drawn("a boat")
    assert len({*first, *await drawn("a house")}) == 4
    assert pixels(base64.b64decode(first[0] or ""))[:2] == (256, 256)


async def test_pictures_are_drawn_one_after_another_and_the_client_that_leaves_gives_its_turn() -> None:
    """The second would wait for hours."""
    async with start(SimulatorSpec(model="demo", image_step_seconds=1000)) as site:
        slow = asyncio.create_task(site.post(IMAGES, {"prompt": "a boat"}))
        await asyncio.wait([slow], timeout=0.2)
        assert not slow.done()
        slow.cancel()
        quick = {"prompt": "a boat", "size": "1x1", "num_inference_steps": 1}
        async with asyncio.timeout(30):
            status, _ = await site.post(IMAGES, quick)
        assert status == 200


async def test_an_unknown_model_draws_nothing(site: Site) -> None:
    """As for texts."""
    assert (await site.post(IMAGES, {"prompt": "x", "model": "nope"}))[0] == 404


async def test_edits_and_variations_depend_on_the_pictures_sent_in(site: Site) -> None:
    """With the SDK, as forms; a mask is one more."""
    files = [png(1, 1, b"abc"), png(1, 1, b"abd")]

    async def edited(*images: bytes, **more: Any) -> str | None:
        named = [(f"{number}.png", each) for number, each in enumerate(images)]
        reply = await site.openai.images.edit(
            model="demo", prompt="a boat", image=named, size="256x256", **more
        )
        return (reply.data or [])[0].b64_json

    first = await edited(files[0])
    assert first == await edited(files[0])
    masked = await edited(files[0], mask=("mask.png", files[1]))
    assert len({first, await edited(files[1]), await edited(*files), masked}) in {3, 4}
    assert first != masked


async def test_variations_need_no_words(site: Site) -> None:
    """A picture alone; each of several is another."""
    form = aiohttp.FormData({"model": "demo", "n": "2"})
    form.add_field("image", png(1, 1, b"abc"), filename="a.png")
    async with site.http.post("/v1/images/variations", data=form) as response:
        one, other = [base64.b64decode(each["b64_json"]) for each in (await response.json())["data"]]
    assert pixels(one)[:2] == (1024, 1024)
    assert one != other


@pytest.mark.parametrize(
    ("route", "fields", "files", "param"),
    [
        ("edits", {"prompt": "a boat"}, {}, "image"),
        ("edits", {"prompt": "a boat"}, {"image": 17}, "image"),
        ("edits", {"prompt": ""}, {"image": 1}, "prompt"),
        ("edits", {}, {"image": 1}, "body"),
        ("variations", {}, {}, "image"),
        ("variations", {"n": "11"}, {"image": 1}, "n"),
    ],
)
async def test_a_form_that_cannot_be_drawn_is_refused(
    site: Site, route: str, fields: dict[str, str], files: dict[str, int], param: str
) -> None:
    """With the field named."""
    form = aiohttp.FormData(fields, default_to_multipart=True)
    form.add_field("model", "demo")
    for name, count in files.items():
        for _ in range(count):
            form.add_field(name, b"pixels", filename="a.png")
    async with site.http.post(f"/v1/images/{route}", data=form) as response:
        error = (await response.json())["error"]
    assert (response.status, error["param"]) == (400, param)
