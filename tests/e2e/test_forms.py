"""Forms with large files through the real Envoy: they arrive to the byte, go where their model says, and are weighed."""

from __future__ import annotations

import base64
import random
from pathlib import Path

from openai import AsyncOpenAI, BadRequestError

from igw.simulator.http.images import Picture, whole
from tests.e2e.harness import MODEL, Stack, stack
from tests.e2e.test_rewrites import rewrite, told

PICTURE = random.Random(7).randbytes(20 << 20)
"""Made up: 20 MB that no one compresses."""


def client_of(running: Stack) -> AsyncOpenAI:
    """Return OpenAI's SDK, pointed at the gateway."""
    return AsyncOpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)


def drawn(*sources: bytes) -> str:
    """Return what the simulated server draws of exactly these bytes."""
    return whole(Picture("a hat", 1, 256, 256, 28, 0, sources), 0).decode()


async def test_a_large_edit_arrives_to_the_byte(tmp_path: Path) -> None:
    """What the server draws depends on every byte of every file. Its work is learned, and nothing stays reserved."""
    async with stack(tmp_path, servers=2) as running, client_of(running) as client:
        mask = b"mask" * 1000
        for files in ((PICTURE,), (PICTURE[:5000], mask)):
            answer = await client.images.edit(
                model=MODEL,
                prompt="a hat",
                size="256x256",
                image=[("a.png", files[0], "image/png")],
                **({"mask": ("m.png", files[1], "image/png")} if len(files) > 1 else {}),
            )
            assert answer.data is not None
            picture = answer.data[0].b64_json
            assert picture is not None
            assert base64.b64decode(picture)
            assert picture in drawn(*files)
        await running.becomes("igw_reservations_open", 0)
        assert 2 == await running.metric("llm_d_epp_request_duration_seconds_count")
        # A step of a megapixel takes 0.1 s, at twenty times the speed; what comes on top is the way of 20 MB.
        assert 0.1 / 20 / 1.048576 < await running.metric("igw_learned_seconds")


async def test_the_model_of_a_form_is_rewritten_in_its_place(tmp_path: Path) -> None:
    """The server knows its own name only. The rest of the form, before and after, is the client's."""
    async with stack(tmp_path, servers=1) as running, client_of(running) as client:
        await told(running, running.ports[0], rewrite({MODEL: 1}, "a-painter"))
        for picture in (PICTURE, PICTURE[:1000]):
            answer = await client.images.edit(
                model="a-painter", prompt="a hat", size="256x256", image=("a.png", picture, "image/png")
            )
            assert answer.data is not None
            assert answer.data[0].b64_json in drawn(picture)


async def test_a_form_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    """400 with what is missing; the model server is not bothered."""
    async with stack(tmp_path, servers=1) as running, client_of(running) as client:
        try:
            await client.audio.transcriptions.create(model="", file=("a.wav", b"RIFF", "audio/wav"))
        except BadRequestError as error:
            assert "`model` not found in the form of audio/transcriptions" in str(error)
        else:
            raise AssertionError("it was taken")
        assert 0 == await running.metric("igw_reservations_open")
