"""Errors of ours in the shape that an API's clients read."""

from __future__ import annotations

import json

import pytest

from igw.errors import QueueFull, Rejected
from igw.parsing.refusals import error_body
from igw.parsing.registry import error_shape


def test_openais_clients_read_a_type_and_a_code() -> None:
    """The type is by the status."""
    error = json.loads(error_body(QueueFull("full")))["error"]
    assert error == {
        "message": "full",
        "type": "rate_limit_error",
        "param": None,
        "code": QueueFull.code,
    }


def test_anthropics_clients_read_theirs() -> None:
    """A status without a type of its own is an error of the API."""
    said = json.loads(error_body(Rejected("broken"), "anthropic"))
    assert said == {
        "type": "error",
        "error": {"type": "api_error", "message": "broken"},
        "request_id": None,
    }


@pytest.mark.parametrize(
    ("api", "shape"), [("messages", "anthropic"), ("chat/completions", "openai"), ("", "openai")]
)
def test_an_api_knows_its_shape(api: str, shape: str) -> None:
    """What we do not know is taken for OpenAI's."""
    assert error_shape(api) == shape
