"""What a client reads in its stream, to the byte."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from igw.errors import NoEndpoints, WaitedTooLong
from igw.flow.statistics import Standing
from igw.waitingroom import events


@pytest.mark.parametrize(
    ("wait", "comment"),
    [
        (3.24, b": queue position 5, expected wait 3.2 s\n\n"),
        (None, b": queue position 5\n\n"),
        (math.inf, b": queue position 5\n\n"),
    ],
)
def test_a_standing_is_a_comment(wait: float | None, comment: bytes) -> None:
    """Without a wait that nobody knows."""
    assert events.standing(Standing(5, wait)) == comment


def said(event: bytes) -> dict[str, Any]:
    """Return the data of the event that is no comment."""
    (data,) = [line for line in event.splitlines() if line.startswith(b"data: {")]
    content: dict[str, Any] = json.loads(data[6:])
    return content


def test_a_refusal_tells_the_reason_when_to_come_back_and_the_error() -> None:
    """In one event: SDKs try to read an event without data."""
    late = WaitedTooLong("too long")
    late.retry_after_seconds = 7
    text = events.refusal(late, "openai")
    comment, event, done, rest = text.split(b"\n\n")
    assert (comment, done, rest) == (b": rejected-ttl-expired", b"data: [DONE]", b"")
    assert event.startswith(b"retry: 7000\ndata: {")
    assert said(text)["error"]["message"] == "too long"


def test_anthropics_errors_are_events_of_that_name() -> None:
    """And nothing comes after them."""
    text = events.refusal(NoEndpoints("none"), "anthropic")
    assert text.endswith(b"}\n\n")
    assert b"event: error\ndata: " in text
    assert said(text)["error"]["type"] == "overloaded_error"


def test_an_error_of_the_model_server_is_passed_on() -> None:
    """As it said it, on one line."""
    body = b'{\n  "error": {"message": "no such model", "code": 404}\n}'
    assert said(events.failure("unused", "openai", body)) == {
        "error": {"message": "no such model", "code": 404}
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": "text"}', b'{"choices": []}'])
def test_what_is_no_error_object_is_told_in_our_words(body: bytes) -> None:
    """So that SDKs find what they look for."""
    error = said(events.failure("it answered 200 and no stream", "openai", body))["error"]
    assert (error["message"], error["code"]) == ("it answered 200 and no stream", "ModelServerError")
