"""One path of several engines: whose body it is shows in the field that has the prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igw.errors import BadRequest
from igw.parsing.generate import SGLANG_HTTP, TGI
from igw.parsing.registry import Apis
from tests.parsing.samples import asked, text


@pytest.mark.parametrize("parser", [SGLANG_HTTP, TGI])
@pytest.mark.parametrize(
    ("fields", "prompt", "most", "model"),
    [
        ({"text": "hi", "sampling_params": {"max_new_tokens": 4}}, b'"hi', 4, ""),
        ({"text": ["a", "b"], "lora_path": ["l", None]}, b'["a","b"', None, "l"),
        ({"inputs": "hi", "parameters": {"max_new_tokens": 5, "adapter_id": "l"}}, b'"hi', 5, "l"),
        ({"prompt": "hi", "max_tokens": 6}, b'"hi', 6, ""),
        ({"prompt": "hi", "model": "gemma"}, b'"hi', None, "gemma"),
    ],
)
def test_each_engine_has_its_prompt(
    parser: Any, fields: dict[str, Any], prompt: bytes, most: int | None, model: str
) -> None:
    """Whichever of the parsers is in force."""
    request = asked("/generate", Apis([parser]), **fields)
    assert (text(request), request.max_output_tokens, request.model) == (prompt, most, model)
    assert (request.model_value is None) == ("model" not in fields)


def test_sglangs_tokens_and_key() -> None:
    """The key keeps caches apart, as a salt does; of several prompts the first one's counts."""
    request = asked("/generate", input_ids=[[1, 2], [3]], extra_key=["k", "l"], session_params={"id": "s"})
    assert np.frombuffer(text(request), np.uint32).tolist() == [1, 2, 3]
    assert (request.seed, request.session) == (b"\0k", "s")


def test_tgis_stream_has_a_path_of_its_own() -> None:
    """The body need not say it."""
    assert asked("/generate_stream", inputs="hi").stream
    assert not asked("/generate", inputs="hi").stream
    assert asked("/generate", text="hi", stream=True).stream


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "needs one of input_ids, text, inputs, prompt"),
        ({"input_ids": []}, "`input_ids` in the request body is empty"),
        ({"input_ids": "abc"}, "`input_ids` in the request body is no list of tokens"),
        ({"input_ids": [1, 1.5]}, "`input_ids` in the request body is no list of tokens"),
        ({"inputs": "hi", "parameters": {"max_new_tokens": "x"}}, r"at `\$.parameters.max_new_tokens`"),
    ],
)
def test_what_is_nobodys_is_refused(fields: dict[str, Any], said: str) -> None:
    """As 400, naming what would do."""
    with pytest.raises(BadRequest, match=said):
        asked("/generate", **fields)
