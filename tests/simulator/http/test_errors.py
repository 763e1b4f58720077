"""How bodies are decoded and refusals worded."""

from __future__ import annotations

import json

import msgspec
import pytest

from igw.simulator.http.errors import ApiError, decode
from tests.simulator.http.recorded import ANSWERS, form


class Body(msgspec.Struct):
    """What a body may hold."""

    number: int


DECODER = msgspec.json.Decoder(Body)


def test_the_body_of_an_error_has_the_form_of_vllm() -> None:
    """Message, type, field and code."""
    message = "The model `nope` does not exist. Valid aliases: tiny-llama."
    error = ApiError(404, message, kind="NotFoundError", param="model")
    assert json.loads(error.body) == ANSWERS["unknown model"]
    assert form(json.loads(ApiError(400, "x", param="y").body)) == form(ANSWERS["too long"])


def test_a_good_body_is_decoded() -> None:
    """Fields nobody asks for are passed over."""
    assert decode(DECODER, b'{"number": 1, "more": []}') == Body(1)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"number": "x"}', "number", "Expected `int`, got `str`"),
        (b"[]", "body", "Expected `object`, got `array`"),
        (b"{", "body", "JSON decode error"),
        (b'{"number": \xff}', "body", "JSON decode error"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(body: bytes, param: str, words: str) -> None:
    """In the words of vLLM's validation."""
    with pytest.raises(ApiError) as caught:
        decode(DECODER, body)
    assert (caught.value.status, caught.value.kind, caught.value.param) == (400, "Bad Request", param)
    assert words in caught.value.message
