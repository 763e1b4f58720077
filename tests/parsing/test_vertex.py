"""Vertex AI over REST: instances, and bodies that are passed on as they are."""

from __future__ import annotations

from typing import Any

import pytest

from igw.parsing.registry import Apis
from tests.parsing.samples import asked, text

PLACE = "/v1/projects/p/locations/l"
MESSAGES = [{"role": "user", "content": "hi"}]


def test_instances_are_the_prompt() -> None:
    """The path names a model, or an endpoint that has one."""
    fields: dict[str, Any] = {"instances": [{"prompt": "hi"}], "parameters": {"maxOutputTokens": 9}}
    request = asked(f"{PLACE}/publishers/google/models/gemma:predict", **fields)
    assert (text(request), request.model, request.max_output_tokens) == (b'[{"prompt":"hi"}', "gemma", 9)
    assert asked(f"{PLACE}/endpoints/17:predict", **fields).model == ""


def test_a_raw_body_is_read_as_far_as_it_is_known() -> None:
    """Claude's has no model, OpenAI's has; a body of neither is balanced with what the path says."""
    claude = f"{PLACE}/publishers/anthropic/models/claude:streamRawPredict"
    request = asked(claude, anthropic_version="v", messages=MESSAGES, max_tokens=5, system="s")
    assert (request.model, request.model_value, request.stream) == ("claude", None, True)
    assert (text(request), request.max_output_tokens) == (b'"s[{"role":"user","content":"hi"}', 5)
    openai = asked(f"{PLACE}/endpoints/17:rawPredict", model="m", messages=MESSAGES)
    assert (openai.model, openai.model_value) == ("m", b'"m"')
    assert asked(f"{PLACE}/publishers/x/models/y:rawPredict", anything=1).model == "y"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (f"{PLACE}/publishers/anthropic/models/claude:rawPredict", "anthropic"),
        (f"{PLACE}/publishers/google/models/gemma:rawPredict", "openai"),
        (f"{PLACE}/endpoints/openapi/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
    ],
)
def test_errors_have_the_shape_that_the_client_reads(path: str, shape: str) -> None:
    """By the publisher in the path."""
    api = Apis().of(path)
    assert api is not None
    assert api.errors == shape
