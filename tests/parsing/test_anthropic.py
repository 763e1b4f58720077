"""Anthropic's Messages API: what is found, and what counting is."""

from __future__ import annotations

from tests.parsing.samples import asked, text

MESSAGES = [{"role": "user", "content": "hi"}]


def test_the_cap_and_tools_are_read() -> None:
    """`max_tokens` is required there, and the engine's to miss."""
    request = asked("/v1/messages", model="m", messages=MESSAGES, max_tokens=9, tools=[{"name": "t"}])
    assert (request.max_output_tokens, request.has_tools) == (9, True)
    assert asked("/v1/messages", model="m", messages=MESSAGES).max_output_tokens is None


def test_counting_is_no_work() -> None:
    """Its path is an API of its own, without a prompt; its model can be replaced."""
    request = asked("/v1/messages/count_tokens", model="m", messages=MESSAGES)
    assert (request.api, text(request), request.max_output_tokens) == ("messages/count_tokens", b"", 0)
    assert request.model_value == b'"m"'
