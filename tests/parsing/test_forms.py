"""Forms -> requests: what each API finds, what is refused and how, and that the model can be replaced where it stands."""

from __future__ import annotations

import io
import json
import struct
import wave
from typing import Any

import msgspec
import pytest
import xxhash
from aiohttp import FormData
from aiohttp.payload import Payload
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.parsing.api import Parser
from igw.parsing.forms import FORM_APIS, apis
from igw.parsing.multipart import ArrivingForm, FormLimits, arriving
from igw.parsing.reading import read
from igw.parsing.registry import Apis
from igw.request import Generation, Head, Media, Request

PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)
"""Whose size is 0 x 0, so that nobody believes it."""
APIS = Apis((Parser("forms", FORM_APIS),))
PATHS = ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"]


def sound(seconds: float) -> bytes:
    """Return a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(round(seconds * 8000) * 2))
    return file.getvalue()


def form(**fields: str | bytes | list[str] | list[bytes]) -> tuple[str, bytes]:
    """Return content type and body, as aiohttp writes them: bytes are files; an underscore at the end of a name is `[]`."""
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            data.add_field(
                name.replace("__", "[]"), each, filename="file.bin" if isinstance(each, bytes) else None
            )
    payload = data()
    assert isinstance(payload, Payload)
    return payload.content_type, written(payload)


def written(payload: Payload) -> bytes:
    """Return what a payload writes, which awaits nothing when it comes from memory."""
    body = bytearray()

    class Into:
        async def write(self, data: bytes) -> None:
            body.extend(data)

    writing = payload.write(Into())  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        writing.send(None)
    return bytes(body)


def request(path: str, content_type: str, body: bytes | bytearray, among: Apis = APIS) -> Request:
    """Return what is read."""
    return read(Head(path, "POST", {"content-type": content_type}), body, among)


def test_a_transcription_is_known_by_its_seconds() -> None:
    """Whisper's windows for the prompt, seconds for the work."""
    file = sound(42.0)
    found = request(
        PATHS[0], *form(file=file, model="whisper", stream="true", max_completion_tokens="50", language="de")
    )
    assert found.model == "whisper"
    assert found.stream
    assert found.media == (Media("audio", xxhash.xxh3_128(file).hexdigest(), 3000, len(file)),)
    assert found.generation == Generation("transcript", 42.0)
    assert found.max_output_tokens == 50
    assert found.api == "audio/transcriptions"
    assert not found.prompt


def test_a_translation_is_the_same() -> None:
    """What comes out of it is another language's matter."""
    assert request(PATHS[1], *form(file=sound(3.0), model="whisper")).generation == Generation(
        "transcript", 3.0
    )


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({}, 1.048576 * 28),
        ({"size": "auto"}, 1.048576 * 28),
        ({"size": "512x1024", "n": "3", "num_inference_steps": "10"}, 0.524288 * 10 * 3),
    ],
)
def test_an_edit_is_weighed_in_megapixels_and_steps(fields: dict[str, str], units: float) -> None:
    """Times the number of pictures."""
    found = request(PATHS[2], *form(image=PNG, prompt="a hat", model="flux", **fields))
    assert found.generation is not None
    assert found.generation.kind == "image"
    assert found.generation.units == pytest.approx(units)
    assert request(PATHS[3], *form(image=PNG, model="flux", **fields)).generation == found.generation


def test_all_pictures_of_an_edit_are_found() -> None:
    """In order, a mask last; the same bytes have the same hash."""
    found = request(PATHS[2], *form(mask=b"mask", image__=[PNG, b"other", PNG], prompt="both", model="flux"))
    assert [media.size_bytes for media in found.media] == [len(PNG), 5, len(PNG), 4]
    assert found.media[0] == found.media[2] != found.media[1]
    assert {media.kind for media in found.media} == {"image"}


def test_a_size_that_is_left_open_is_that_of_the_first_picture() -> None:
    """Read from the head of its file, as are the tokens that take its place."""
    small = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 320)
    found = request(PATHS[2], *form(image__=[small, PNG], prompt="p", num_inference_steps="10"))
    assert found.generation == Generation("image", 0.2048 * 10)
    assert [media.tokens for media in found.media] == [200, 225]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_the_model_can_be_replaced_where_it_stands(path: str, kind: type[bytes]) -> None:
    """Its value is a slice of the body, without quotes."""
    content_type, body = form(prompt="p", image=PNG, file=sound(1.0), model="größe")
    found = request(path, content_type, kind(body))
    assert found.model == "größe"
    assert found.model_value is not None
    assert bytes(found.model_value) == "größe".encode()
    assert not found.model_quoted


@pytest.mark.parametrize("path", PATHS[2:])
def test_a_picture_needs_no_model(path: str) -> None:
    """It is optional in OpenAI's API; then there is nothing to replace."""
    for fields in ({}, {"model": ""}):
        found = request(path, *form(image=PNG, prompt="p", **fields))
        assert found.model == ""
        assert found.model_value is None


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        (PATHS[0], {"model": "m"}, "`file` not found among the files of the form of audio/transcriptions"),
        (PATHS[0], {"model": "m", "file": "text"}, "`file` not found among the files"),
        (PATHS[0], {"model": "m", "file": [b"a", b"b"]}, "`file` is there more than once"),
        (PATHS[0], {"file": b"x"}, "`model` not found in the form of audio/transcriptions"),
        (PATHS[1], {"file": b"x", "model": b"a file"}, "`model` not found in the form of audio/translations"),
        (PATHS[0], {"file": b"x", "model": ["a", "b"]}, "`model` is there more than once"),
        (PATHS[0], {"file": b"x", "model": "m", "stream": "perhaps"}, "`stream` in the form of audio/transcriptions is neither"),
        (PATHS[2], {"image": PNG, "model": "m"}, "`prompt` not found in the form of images/edits"),
        (PATHS[2], {"prompt": "p", "model": "m"}, "`image` not found among the files of the form of images/edits"),
        (PATHS[3], {"model": "m"}, "`image` not found among the files of the form of images/variations"),
        (PATHS[3], {"image": PNG, "n": "0"}, "`n` in the form of images/variations is not a whole number from 1"),
        (PATHS[3], {"image": PNG, "n": "two"}, "`n` in the form"),
        (PATHS[3], {"image": PNG, "n": "²"}, "`n` in the form"),
        (PATHS[3], {"image": PNG, "num_inference_steps": "9" * 5000}, "`num_inference_steps` in the form"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(path: str, fields: dict[str, str], said: str) -> None:
    """Field, API and reason."""
    with pytest.raises(BadRequest, match=said):
        request(path, *form(**fields))


def test_a_model_that_is_no_text_is_refused() -> None:
    """UTF-8 is what names are compared in."""
    content_type, body = form(image=PNG, model="X" * 7)
    with pytest.raises(BadRequest, match="`model` in the form of images/variations is not UTF-8"):
        request(PATHS[3], content_type, body.replace(b"X" * 7, b"\xff" * 7))


def test_another_type_of_body_is_refused() -> None:
    """With what would be right."""
    with pytest.raises(
        BadRequest, match="audio/transcriptions needs a body of multipart/form-data, not application/json"
    ):
        request(PATHS[0], "application/json", b"{}")
    with pytest.raises(BadRequest, match="not of no type"):
        request(PATHS[0], "", b"{}")


@pytest.mark.parametrize("fields", [{}, {"model": "m"}, {"model": "m", "x__": ["y"] * 200}])
def test_a_form_that_arrived_in_pieces_reads_the_same(fields: dict[str, Any]) -> None:
    """It was looked at piece by piece, and is not again; what is wrong with it is said when it is read."""
    content_type, body = form(file=sound(5.0), **fields)
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    whole = arriving(content_type, pieces[0])
    for piece in pieces[1:]:
        whole.add(piece)
    assert isinstance(whole, ArrivingForm)
    assert whole == body

    def read_as(body: bytes | bytearray) -> tuple[Request, bytes] | str:
        try:
            found = request(PATHS[0], content_type, body)
        except BadRequest as error:
            return error.message
        return msgspec.structs.replace(found, model_value=None), bytes(found.model_value or b"")

    assert read_as(whole) == read_as(body)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data"])
def test_what_is_no_form_arrives_as_any_other_body(content_type: str) -> None:
    """Also one that does not say how it is cut."""
    whole = arriving(content_type, b"{")
    whole.add(b"}")
    assert not isinstance(whole, ArrivingForm)
    assert whole == b"{}"


def test_an_edit_may_come_as_json() -> None:
    """Then its pictures are URLs or base64, and its model a string in quotes."""
    fields = {"model": "flux", "prompt": "p", "size": "1000x1000", "n": 2, "num_inference_steps": 5}
    body = json.dumps({**fields, "images": [{"image_url": "data:image/png;base64," + "A" * 50_000}]}).encode()
    found = request(PATHS[2], "application/json; charset=utf-8", body)
    assert found.generation == Generation("image", 10.0)
    assert bytes(found.model_value or b"") == b'"flux"'
    assert found.model_quoted
    for missing in ({"prompt": "p"}, {"images": [1]}):
        with pytest.raises(BadRequest, match="not found in request body; images/edits needs it"):
            request(PATHS[2], "application/json", json.dumps(missing).encode())


def test_limits_are_settings() -> None:
    """Other ones for other gateways."""
    tight = Apis((Parser("forms", apis(FormLimits(parts=2, header_bytes=200, field_bytes=5))),))
    assert request(PATHS[3], *form(image=PNG, model="m" * 5), among=tight).model == "mmmmm"
    refused: list[tuple[dict[str, Any], str]] = [
        ({"image": PNG, "model": "m" * 6}, "longer than 5 bytes"),
        ({"image": PNG, "model": "m", "n": "1"}, "more than 2 parts"),
        ({"image": PNG, "m" * 200: "m"}, "headers of more than 200 bytes"),
    ]
    for fields, said in refused:
        with pytest.raises(BadRequest, match=said):
            request(PATHS[3], *form(**fields), among=tight)


@given(
    st.sampled_from(PATHS),
    st.sampled_from(["multipart/form-data; boundary=b", "multipart/form-data", "", 'multipart/form-data; boundary="'])
    | st.text(max_size=20).map(lambda text: "multipart/form-data;" + text),
    st.lists(
        st.sampled_from([b"--b\r\n", b"\r\n--b\r\n", b"\r\n--b--", b'Content-Disposition: form-data; name="', b'model"', b'image"; filename="x"', b"\r\n\r\n", b'file"; filename=x'])
        | st.binary(max_size=4),
        max_size=20,
    ).map(b"".join),
)  # fmt: skip
def test_any_bytes_are_a_request_or_refused(path: str, content_type: str, body: bytes) -> None:
    """Nothing else happens."""
    try:
        found = request(path, content_type, body)
    except BadRequest as error:
        assert error.message
    else:
        assert found.generation is not None
        assert found.generation.units >= 0
