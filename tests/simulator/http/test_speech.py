"""Speech: sound that lasts as long as its text, and how long it takes."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.http.errors import ApiError
from igw.simulator.http.speech import SAMPLES_PER_SECOND, SpeechRequest, hum, read, seconds, wav
from igw.simulator.http.transcription import seconds_of
from igw.simulator.manifest import SimulatorSpec
from tests.simulator.site import Site, start

SPEECH = "/v1/audio/speech"


@given(st.text(min_size=1, max_size=100), st.floats(0.25, 4.0))
def test_sound_lasts_as_long_as_its_text(text: str, speed: float) -> None:
    """To a sample; the header says the same."""
    asked = SpeechRequest(input=text, speed=speed)
    samples = hum(asked)
    assert len(samples) == 2 * max(1, round(len(text) / 15 / speed * SAMPLES_PER_SECOND))
    assert seconds_of(wav(samples)) == pytest.approx(len(samples) / 48_000)


async def test_the_sdk_gets_a_wav_file_that_players_can_read(site: Site) -> None:
    """30 characters are two seconds; other words or another voice sound different."""

    async def spoken(text: str, voice: str = "alloy") -> bytes:
        reply = await site.openai.audio.speech.create(
            model="demo", input=text, voice=voice, response_format="wav"
        )
        return reply.content

    sound = await spoken("x" * 30)
    with wave.open(io.BytesIO(sound)) as file:
        assert (1, 2, 24_000, 48_000) == file.getparams()[:4]
    assert sound == await spoken("x" * 30)
    assert 3 == len({sound, await spoken("y" * 30), await spoken("x" * 30, "echo")})


async def test_pcm_is_the_same_sound_without_a_header(site: Site) -> None:
    """And each is called what it is."""
    kinds = {}
    for form in ("wav", "pcm"):
        async with site.http.post(SPEECH, json={"input": "hello", "response_format": form}) as response:
            kinds[response.content_type] = await response.read()
    assert kinds["audio/wav"] == wav(kinds["audio/pcm"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"response_format": "mp3"}, "response_format"),
        ({"response_format": "tape"}, "response_format"),
        ({"speed": 5}, "speed"),
        ({"stream_format": "sse"}, "stream_format"),
    ],
)
def test_what_cannot_be_spoken_is_refused(fields: dict[str, Any], param: str) -> None:
    """With the field named."""
    with pytest.raises(ApiError) as caught:
        read(json.dumps({"input": "hello"} | fields).encode())
    assert (caught.value.status, caught.value.param) == (400, param)


async def test_texts_are_spoken_one_after_another_and_the_client_that_leaves_gives_its_turn() -> None:
    """The second would wait for hours."""
    assert seconds(SpeechRequest(input="x" * 150, speed=2.0)) == pytest.approx(5.0)
    async with start(SimulatorSpec(model="demo", speech_real_time_factor=10_000)) as site:
        slow = asyncio.create_task(site.post(SPEECH, {"input": "x" * 150}))
        await asyncio.wait([slow], timeout=0.2)
        assert not slow.done()
        slow.cancel()
        async with (
            asyncio.timeout(30),
            site.http.post(SPEECH, json={"input": "!", "speed": 4.0, "model": "nope"}) as response,
        ):
            assert response.status == 404
    async with start(SimulatorSpec(model="demo", speech_real_time_factor=0)) as site:
        async with site.http.post(SPEECH, json={"input": "x" * 4096}) as response:
            assert response.status == 200
