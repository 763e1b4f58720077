"""Transcriptions and translations: every form of answer, and how long a recording is."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.http.errors import ApiError
from igw.simulator.http.forms import Form
from igw.simulator.http.speech import wav
from igw.simulator.http.transcription import MOST_FILE_BYTES, read, seconds_of
from tests.simulator.site import Site

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TWO_SECONDS = wav(b"ab" * 48_000)
A_MINUTE = wav(b"ab" * 24_000 * 60)


def form(file: bytes = TWO_SECONDS, **fields: str) -> aiohttp.FormData:
    """Return a body with this file."""
    made = aiohttp.FormData({"model": "demo"} | fields)
    made.add_field("file", io.BytesIO(file), filename="a.wav")
    return made


@given(st.binary(max_size=300))
def test_any_file_has_a_length_or_is_refused(tail: bytes) -> None:
    """Nothing but a 400, and never below zero."""
    for file in (tail, b"RIFF\0\0\0\0WAVE" + tail, TWO_SECONDS[:36] + tail):
        try:
            assert seconds_of(file) >= 0
        except ApiError as error:
            assert error.status == 400


def test_a_wav_file_says_how_long_it_is() -> None:
    """Other parts before the sound are passed over; a file that was streamed does not know its size."""
    assert seconds_of(TWO_SECONDS) == 2.0
    extra = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    assert seconds_of(TWO_SECONDS[:12] + extra + TWO_SECONDS[12:]) == 2.0
    for unknown in (0, 0xFFFFFFFF):
        assert seconds_of(TWO_SECONDS[:40] + struct.pack("<I", unknown) + TWO_SECONDS[44:]) == 2.0


def test_other_files_are_taken_for_128_kilobits_a_second() -> None:
    """Nothing here can decode them."""
    assert seconds_of(b"ID3" + bytes(159_997)) == 10.0


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {}, "file"),
        ({}, {"file": [b""]}, "file"),
        ({}, {"file": [TWO_SECONDS[:20]]}, "file"),
        ({}, {"file": [bytes(MOST_FILE_BYTES + 1)]}, "audio_filesize_mb"),
        ({"response_format": "srt"}, {"file": [TWO_SECONDS]}, "response_format"),
        ({"response_format": "verbose_json", "stream": "true"}, {"file": [TWO_SECONDS]}, "response_format"),
        ({"max_completion_tokens": "0"}, {"file": [TWO_SECONDS]}, "max_completion_tokens"),
        ({"stream": "perhaps"}, {"file": [TWO_SECONDS]}, "stream"),
    ],
)
def test_what_cannot_be_transcribed_is_refused(
    fields: dict[str, Any], files: dict[str, list[bytes]], param: str
) -> None:
    """With the field named."""
    with pytest.raises(ApiError) as caught:
        read(Form(fields, files), "transcription")
    assert (caught.value.status, caught.value.param) == (400, param)


def test_the_engine_computes_whole_windows() -> None:
    """1,500 tokens for each that has begun, and the words that are given as a hint."""
    for file, windows in ((TWO_SECONDS, 1), (A_MINUTE, 2), (A_MINUTE + b"more", 2)):
        call, recording = read(Form({"prompt": "hint"}, {"file": [file]}), "transcription")
        assert (windows * 1500, windows * 1500 + 1) == (recording.media_tokens, len(call.prompts[0]))


async def test_the_sdk_gets_the_same_text_in_every_form(site: Site) -> None:
    """Two seconds are 30 characters, in whole tokens; a translation says something else."""
    transcribe = site.openai.audio.transcriptions.create
    file = ("a.wav", TWO_SECONDS)
    plain = await transcribe(model="demo", file=file)
    text = plain.text
    assert len(text) == 32
    assert plain.usage is not None
    assert ("duration", 2) == (plain.usage.type, plain.usage.seconds)
    assert text == await transcribe(model="demo", file=file, response_format="text")
    verbose = await transcribe(model="demo", file=file, response_format="verbose_json")
    assert (text, 2.0) == (verbose.text, verbose.duration)
    async with site.http.post("/v1/audio/translations", data=form()) as response:
        translated = (await response.json())["text"]
    assert len(translated) == 32
    assert translated != text


async def test_segments_share_the_words(site: Site) -> None:
    """One for each window."""
    body = form(A_MINUTE, response_format="verbose_json", language="de")
    async with site.http.post(TRANSCRIPTIONS, data=body) as response:
        said = await response.json()
    assert [(0.0, 30.0), (30.0, 60.0)] == [(each["start"], each["end"]) for each in said["segments"]]
    assert said["text"] == "".join(each["text"] for each in said["segments"])
    assert "de" == said["language"]


async def test_a_stream_has_a_chunk_per_token_and_then_the_usage(site: Site) -> None:
    """As vLLM words it, which is not how OpenAI does."""
    async with site.http.post(TRANSCRIPTIONS, data=form()) as response:
        whole = await response.json()
    body = form(stream="true", stream_include_usage="true")
    async with site.http.post(TRANSCRIPTIONS, data=body) as response:
        *parts, done, end = (await response.text()).split("\n\n")
    assert ("data: [DONE]", "") == (done, end)
    *chunks, last = [json.loads(part.removeprefix("data: ")) for part in parts]
    assert whole["text"] == "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert [*[None] * 7, "stop"] == [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert {"transcription.chunk"} == {chunk["object"] for chunk in [*chunks, last]}
    assert ([], 1500, 8) == (
        last["choices"], last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"],
    )  # fmt: skip


async def test_an_unknown_model_hears_nothing(site: Site) -> None:
    """As for texts."""
    async with site.http.post(TRANSCRIPTIONS, data=form(model="nope")) as response:
        assert response.status == 404
