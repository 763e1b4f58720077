"""vLLM's API of tokens: tokens as they are, media by the hashes that the renderer gave them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igw.errors import BadRequest
from igw.request import Media
from tests.parsing.samples import asked, text

GENERATE = "/inference/v1/generate"


def features(digest: str | None = "ab" * 16, offset: int = 1, length: int = 10) -> dict[str, Any]:
    """Return one image of *length* tokens."""
    place = {"offset": offset, "length": length}
    return {"mm_hashes": {"image": [digest]}, "mm_placeholders": {"image": [place]}, "kwargs_data": None}


def test_tokens_are_the_prompt() -> None:
    """Four bytes each; the rest is where vLLM has it."""
    request = asked(
        GENERATE, token_ids=[1, 2, 70_000], sampling_params={"max_tokens": 4}, cache_salt="s", stream=True
    )
    assert np.frombuffer(text(request), np.uint32).tolist() == [1, 2, 70_000]
    assert (request.max_output_tokens, request.stream, request.model) == (4, True, "")
    assert request.seed == b"\0s"
    assert asked(GENERATE, token_ids=[1], model="lora").model_value == b'"lora"'


def test_a_medium_is_told_apart_by_its_hash() -> None:
    """Placeholders are alike for all; before and behind them nothing changes."""
    ids = [5, *[9] * 10, 6]
    one, other = (
        asked(GENERATE, token_ids=ids, features=features(digest)) for digest in ("a" * 32, "b" * 32)
    )
    assert one.media == (Media("image", "a" * 32, 10),)
    assert text(one) != text(other)
    assert text(one)[:4] == text(other)[:4] == b"\5\0\0\0"
    assert text(one)[-4:] == b"\6\0\0\0"
    assert len(text(one)) == 48
    assert asked(GENERATE, token_ids=ids, features=features(None)).media == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "missing required field `token_ids`"),
        ({"token_ids": []}, "`token_ids` in the request body is empty"),
        ({"token_ids": [-1]}, "`token_ids` in the request body is no list of tokens"),
        ({"token_ids": ["a"]}, r"at `\$.token_ids\[0\]`"),
        ({"token_ids": [1], "features": features()}, "is not within `token_ids`"),
        ({"token_ids": [1] * 99, "features": features(offset=-1)}, "is not within `token_ids`"),
        ({"token_ids": [1] * 99, "features": features(length=0)}, "is not within `token_ids`"),
        ({"token_ids": [1], "features": {"mm_hashes": {"image": ["a"]}}}, "has 0 of `image`"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], said: str) -> None:
    """As 400."""
    with pytest.raises(BadRequest, match=said):
        asked(GENERATE, **fields)
