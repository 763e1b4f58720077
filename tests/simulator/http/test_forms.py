"""Forms: fields and files, and what is said of bodies that are none."""

from __future__ import annotations

import io

import aiohttp
import pytest

from igw.simulator.http.errors import ApiError
from igw.simulator.http.forms import MOST_FIELD_BYTES, MOST_PARTS, Form
from igw.simulator.http.images import ImageRequest
from tests.simulator.site import Site

EDITS = "/v1/images/edits"
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}


def test_fields_become_what_a_request_wants() -> None:
    """Everything is text in a form."""
    form = Form({"prompt": "a boat", "n": "2", "size": "1x1"}, {})
    assert form.as_struct(ImageRequest) == ImageRequest(prompt="a boat", n=2, size="1x1")


def test_a_field_that_is_no_number_is_named() -> None:
    """In the words of a JSON body's refusal."""
    with pytest.raises(ApiError) as caught:
        Form({"prompt": "a boat", "n": "two"}, {}).as_struct(ImageRequest)
    assert (caught.value.status, caught.value.param) == (400, "n")


@pytest.mark.parametrize("files", [{}, {"image": [b""]}, {"image": [b"a", b"b"]}])
def test_a_file_is_there_once_with_something_in_it(files: dict[str, list[bytes]]) -> None:
    """Else it is named."""
    with pytest.raises(ApiError, match="image must be one file"):
        Form({}, files).file("image")


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"{}", {"Content-Type": "application/json"}, "must be multipart/form-data, not application/json"),
        (b"x", {"Content-Type": "multipart/form-data"}, "not valid multipart/form-data"),
        (b"no part at all", BOUNDARY, "not valid multipart/form-data"),
        (
            b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
            BOUNDARY,
            "Each part of the form must have a name",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n\xff\r\n--x--',
            BOUNDARY,
            "n is not UTF-8",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n'
            + b"1" * (MOST_FIELD_BYTES + 1)
            + b"\r\n--x--",
            BOUNDARY,
            "n is longer than",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n1\r\n' * (MOST_PARTS + 1) + b"--x--",
            BOUNDARY,
            "more than 100 parts",
        ),
    ],
    ids=["json", "no boundary", "no part", "no name", "no text", "long field", "many parts"],
)
async def test_a_body_that_is_no_form_is_refused(
    site: Site, body: bytes, headers: dict[str, str], said: str
) -> None:
    """With 400 and the reason."""
    async with site.http.post(EDITS, data=io.BytesIO(body), headers=headers) as response:
        answered = await response.json()
    assert response.status == 400, answered
    assert said in answered["error"]["message"]


async def test_lists_have_brackets_in_their_names(site: Site) -> None:
    """As OpenAI's SDKs write several files; a field that is there twice is the last one."""
    form = aiohttp.FormData({"prompt": "a boat", "size": "1x1", "num_inference_steps": "1"})
    form.add_field("size", "2x2")
    for _ in range(2):
        form.add_field("image[]", b"pixels", filename="a.png")
    async with site.http.post(EDITS, data=form) as response:
        assert response.status == 200, await response.text()
