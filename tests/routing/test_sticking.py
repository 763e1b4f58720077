"""What requests have in common: turns of a conversation, sessions, tenants."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.parsing.reading import read
from igw.request import Head, Request
from igw.routing.sticking import key_of

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
MORE = {"content": "and?", "role": "user"}


def request(path: str = "chat/completions", headers: dict[str, str] | None = None, **fields: Any) -> Request:
    """Return a request of an API."""
    return read(Head(f"/v1/{path}", "POST", headers or {}), msgspec.json.encode({"model": "m", **fields}))


def opening(**fields: Any) -> bytes:
    """Return what a conversation is known by."""
    return key_of(request(fields.pop("path", "chat/completions"), **fields), "conversation")


def test_the_turns_of_a_conversation_have_its_beginning_in_common() -> None:
    """Up to the first message of the user, whatever else is said or offered later."""
    first = opening(messages=[SYSTEM, HI])
    assert first == opening(messages=[SYSTEM, HI, ANSWER, MORE])
    assert first == opening(messages=[SYSTEM, HI], tools=[{"type": "function", "function": {"name": "f"}}])
    assert first != opening(messages=[SYSTEM, MORE])
    assert first != opening(messages=[HI])


def test_parts_of_a_message_count_with_their_media() -> None:
    """Two questions about two pictures are two conversations."""

    def asked(picture: str) -> list[dict[str, Any]]:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
        return [{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]

    one = opening(messages=asked("aaaa" * 5000))
    assert one == opening(messages=[*asked("aaaa" * 5000), ANSWER, MORE])
    assert one != opening(messages=asked("bbbb" * 5000))


def test_other_apis_have_conversations_too() -> None:
    """Anthropic's with its system prompt beside the messages; Responses whose input is a string or a list of items."""
    messages = opening(path="messages", max_tokens=1, system="Be brief.", messages=[HI])
    assert messages == opening(path="messages", max_tokens=1, system="Be brief.", messages=[HI, ANSWER, MORE])
    assert opening(path="responses", input="hi") == opening(path="responses", input=[HI, ANSWER, MORE])
    assert opening(path="responses", input="hi", tools=[{"type": "x"}]) == opening(
        path="responses", input=[HI]
    )


def test_a_prompt_without_messages_counts_whole() -> None:
    """A string, several, tokens."""
    for one, two in (("a", "b"), (["a"], ["b"]), ([1, 2], [1, 3])):
        assert opening(path="completions", prompt=one) == opening(path="completions", prompt=one)
        assert opening(path="completions", prompt=one) != opening(path="completions", prompt=two)


def test_the_beginning_of_a_long_conversation_is_found_wherever_it_ends() -> None:
    """Before, at and behind what is read at first; what follows does not count."""
    for length in (10, 65_400, 65_500, 65_536, 70_000, 200_000):
        first = [{"role": "system", "content": "x" * length}, {"role": "user", "content": "é" * length}]
        later = [*first, *[{"role": "assistant", "content": "y" * 1000}] * 200]
        assert opening(messages=first) == opening(messages=later), length
        assert opening(messages=later) != opening(messages=[*first[:1], *later[2:]])


def test_of_a_beginning_of_megabytes_half_of_one_is_enough() -> None:
    """Turns stay together, and nobody waits for a book to be read."""
    first = [{"role": "user", "content": "x" * 2_000_000}]
    assert opening(messages=first) == opening(messages=[*first, ANSWER, MORE])
    assert opening(messages=first) != opening(messages=[{"role": "user", "content": "y" * 2_000_000}])


def test_messages_without_a_user_count_all() -> None:
    """There is nothing that all turns begin with."""
    assert opening(messages=[SYSTEM]) != opening(messages=[SYSTEM, ANSWER])


def test_a_session_is_known_by_its_header_else_by_its_conversation() -> None:
    """The first that is there counts."""
    two = {"session_id": "b", "x-session-id": "a"}
    assert key_of(request(headers=two, messages=[HI]), "session") == b"a"
    assert key_of(request(headers={"session_id": "b"}, messages=[HI]), "session") == b"b"
    assert key_of(request(messages=[HI]), "session") == opening(messages=[HI])


@pytest.mark.parametrize(("by", "key"), [("fairness-id", b"tenant"), ("header:X-Team", b"t\xc3\xa9")])
def test_a_tenant_or_a_header_is_taken_as_it_is(by: str, key: bytes) -> None:
    """Names of headers whatever their case; none: nothing in common."""
    headers = {"x-llm-d-inference-fairness-id": "tenant", "x-team": "té"}
    assert key_of(request(headers=headers, messages=[HI]), by) == key
    assert key_of(request(messages=[HI]), by) == b""


def test_without_a_prompt_there_is_nothing_in_common() -> None:
    """Such a request is drawn."""
    assert key_of(Request(Head("/v1/models", "GET", {})), "conversation") == b""


@given(st.lists(st.binary(), max_size=4))
def test_any_prompt_has_a_key_or_none(parts: list[bytes]) -> None:
    """Whatever bytes there are, the same ones give the same key."""
    prompt = [memoryview(part) for part in parts]
    one = key_of(Request(Head("/", "POST", {}), prompt=prompt), "conversation")
    assert one == key_of(Request(Head("/", "POST", {}), prompt=prompt), "conversation")
    assert len(one) == (16 if parts else 0)
