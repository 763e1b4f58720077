"""Pictures and speech: what their work is estimated from."""

from __future__ import annotations

from typing import Any

import pytest

from igw.errors import BadRequest
from igw.request import Generation
from tests.parsing.samples import asked

MEGAPIXEL = 1024 * 1024 / 1e6


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({}, MEGAPIXEL * 28),
        ({"size": "auto", "n": None}, MEGAPIXEL * 28),
        ({"size": "512x1024", "n": 3, "num_inference_steps": 4}, 512 * 1024 / 1e6 * 12),
    ],
)
def test_a_picture_is_weighed_by_size_steps_and_number(fields: dict[str, Any], units: float) -> None:
    """It has no prompt that a cache could share, and the model may be left out."""
    request = asked("/v1/images/generations", prompt="a cat", **fields)
    assert request.generation == Generation("image", pytest.approx(units))
    assert (request.model, request.prompt, request.model_value) == ("", (), None)


def test_speech_is_weighed_by_its_seconds() -> None:
    """Fifteen characters are one, at usual speed."""

    def seconds(**fields: Any) -> float:
        request = asked("/v1/audio/speech", model="m", voice="alloy", input="x" * 150, **fields)
        assert request.generation is not None
        assert request.generation.kind == "audio"
        return request.generation.units

    assert seconds() == pytest.approx(10.0)
    assert seconds(speed=2.0) == pytest.approx(5.0)
    assert seconds(speed=0) == pytest.approx(10.0)
    assert seconds(speed=1e300) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/v1/images/generations", {"model": "m"}, "`prompt` not found"),
        ("/v1/images/generations", {"prompt": "p", "n": "two"}, r"at `\$.n`"),
        ("/v1/audio/speech", {"model": "m"}, "`input` not found"),
        ("/v1/audio/speech", {"input": "hi", "model": 7}, "`model` in the request body is not a string"),
    ],
)
def test_what_is_missing_is_named(path: str, fields: dict[str, Any], said: str) -> None:
    """As 400."""
    with pytest.raises(BadRequest, match=said):
        asked(path, **fields)


def test_a_stream_of_speech_is_noticed() -> None:
    """By OpenAI's field and by the usual one."""
    assert asked("/v1/audio/speech", model="m", input="hi", stream_format="sse").stream
    assert asked("/v1/audio/speech", model="m", input="hi", stream=True).stream
