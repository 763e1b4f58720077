"""Bodies -> what a template is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.tokenizing.conversations import chat, completion, kwargs_of, messages_of, tools_of


def messages(*given: dict[str, Any], in_parts: bool = False) -> list[dict[str, Any]]:
    """Return what a template gets of *given*."""
    return messages_of(chat(json.dumps({"messages": given}).encode()), in_parts=in_parts)


def test_content_is_one_text_or_a_list_of_parts() -> None:
    """As the template wants it, whatever the client wrote."""
    texts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]
    written = {"role": "user", "content": texts}
    assert messages(written) == [{"role": "user", "content": "a\nb\nc"}]
    in_parts = [{"type": "text", "text": text} for text in "abc"]
    assert messages(written, in_parts=True) == [{"role": "user", "content": in_parts}]
    one = {"role": "user", "content": "x"}
    assert messages(one, in_parts=True) == [{"role": "user", "content": [{"type": "text", "text": "x"}]}]


def test_calls_of_tools_have_objects_for_arguments() -> None:
    """What is none counts as empty, so that a conversation can go on."""
    for written, wanted in (('{"x": 1}', {"x": 1}), ({"x": 1}, {"x": 1}), ("[1]", {}), ("{", {}), (None, {})):
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": written}}
        [made] = messages({"role": "assistant", "content": None, "tool_calls": [call]})
        assert made["tool_calls"][0]["function"] == {"name": "f", "arguments": wanted}
        assert made["content"] == ""
    [made] = messages({"role": "assistant", "content": "x", "tool_calls": []})
    assert "tool_calls" not in made


def test_what_belongs_to_a_role_comes_along() -> None:
    """And nothing else."""
    assert messages(
        {"role": "assistant", "content": "x", "reasoning_content": "hm", "audio": 1},
        {"role": "tool", "content": "y", "tool_call_id": "1", "name": "f"},
        {"role": "user", "content": "z", "tool_call_id": "1", "name": 5},
    ) == [
        {"role": "assistant", "content": "x", "reasoning": "hm", "reasoning_content": "hm"},
        {"role": "tool", "content": "y", "tool_call_id": "1", "name": "f"},
        {"role": "user", "content": "z"},
    ]


def test_tools_have_all_fields() -> None:
    """In the engine's order, because templates write them as JSON."""
    tools = [{"function": {"strict": True, "parameters": {"b": 1, "a": 2}, "name": "f"}}]
    [made] = tools_of(chat(json.dumps({"messages": [], "tools": tools}).encode())) or []
    assert json.dumps(made) == (
        '{"type": "function", "function": {"name": "f", "description": null, "parameters": {"b": 1, "a": 2}, "strict": true}}'
    )
    assert tools_of(chat(b'{"messages":[],"tools":[]}')) is None


def test_a_request_may_say_something_to_the_template() -> None:
    """Its own word counts before that of the API."""
    asked = chat(b'{"messages":[],"reasoning_effort":"low","chat_template_kwargs":{"enable_thinking":false}}')
    assert kwargs_of(asked) == {"reasoning_effort": "low", "enable_thinking": False}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": [5]},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
    ],
)
def test_what_is_no_text_is_refused(message: dict[str, Any]) -> None:
    """Its tokens are not known here."""
    with pytest.raises(ValueError, match=r"a message|a part|content|a tool call"):
        messages(message)


def test_tools_that_are_none_are_refused() -> None:
    """An engine refuses them too."""
    for tool in ({}, {"function": {}}, {"function": 5}):
        with pytest.raises(ValueError, match="a tool is none"):
            tools_of(chat(json.dumps({"messages": [], "tools": [tool]}).encode()))


def test_a_completion_has_special_tokens_unless_it_says_otherwise() -> None:
    """As in vLLM; chats are the other way round."""
    assert completion(b'{"prompt":"x"}').add_special_tokens
    assert not chat(b'{"messages":[]}').add_special_tokens
