"""The request as a value: the token estimate that holds without a tokenizer."""

from __future__ import annotations

from igw.request import Head, Request


def test_a_token_is_estimated_as_four_bytes() -> None:
    """The estimate stays when the prompt itself has been dropped."""
    request = Request(Head("/v1/completions", "POST", {}), prompt_bytes=4099)
    assert request.prompt_tokens == 1024
    assert request.prompt == ()
