"""Tokens, conversations and answers: what a client may rely on."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.text import PIECES, answer, cut_at_stop, natural_length, render_chat, tokenize

MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}),
    min_size=1,
    max_size=4,
)


@given(st.text(), st.text())
def test_a_prefix_of_a_text_is_a_prefix_of_its_tokens_but_for_the_last(start: str, rest: str) -> None:
    """That is what makes prefix caching work."""
    short, long = tokenize(start), tokenize(start + rest)
    certain = max(0, len(short) - 1)
    assert long[:certain] == short[:certain]


def test_english_has_four_characters_to_a_token() -> None:
    """As with real vocabularies."""
    assert len(tokenize("The quick brown fox jumps over the lazy dog.")) == 11
    assert list(tokenize("")) == []


def test_pieces_are_distinct_single_tokens() -> None:
    """256 of them, each of four bytes."""
    assert len(set(PIECES)) == 256
    assert all(len(tokenize(piece)) == 1 for piece in PIECES)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1), st.integers(1, 50))
def test_an_answer_depends_on_the_prompt_alone_and_grows_at_its_end(prompt: list[int], count: int) -> None:
    """So a client can verify any answer, whatever max_tokens was."""
    pieces = answer(prompt, count)
    assert len(pieces) == count
    assert answer(array("I", prompt), 2 * count)[:count] == pieces
    assert not pieces[0].startswith(" ")
    assert 16 <= natural_length(prompt) <= 256


def test_different_prompts_get_different_answers() -> None:
    """A gateway that mixed up two answers would be found out."""
    assert answer(tokenize("one"), 8) != answer(tokenize("two"), 8)


@given(MESSAGES, st.integers(1, 40), st.text())
def test_the_next_turn_begins_with_exactly_the_tokens_of_this_one(
    messages: list[dict[str, str]], count: int, question: str
) -> None:
    """Prompt and generated tokens are a prefix of the longer conversation's tokens."""
    prompt = tokenize(render_chat(messages))
    said = "".join(answer(prompt, count))
    generated = tokenize(said)
    longer = [*messages, {"role": "assistant", "content": said}, {"role": "user", "content": question}]
    tokens = tokenize(render_chat(longer))
    assert len(generated) == count
    assert tokens[: len(prompt) + count] == prompt + generated


def test_tools_come_first_so_that_conversations_with_equal_tools_share_them() -> None:
    """Many agents differ only after their tools."""
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    one, two = (render_chat([{"role": "user", "content": text}], tools) for text in ("a", "b"))
    assert one.startswith('<|im_start|>system\n\n# Tools\n[{"type":"function"')
    assert one.index("a<|im_end|>") == two.index("b<|im_end|>")


def test_parts_are_joined_and_media_become_placeholders_of_fixed_length() -> None:
    """Different pictures differ, so they do not share a cache by accident."""

    def render(url: str) -> str:
        parts = [{"type": "text", "text": "What is "}, {"type": "image_url", "image_url": {"url": url}}]
        return render_chat([{"role": "user", "content": parts}])

    assert "What is <|media:" in render("a.png")
    assert render("a.png") != render("a-longer-name.png")
    assert len(render("a.png")) == len(render("a-longer-name.png"))


def test_tool_calls_of_the_assistant_are_part_of_the_prompt() -> None:
    """Content is null in such messages."""
    text = render_chat([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}])
    assert '<tool_call>[{"id":"1"}]</tool_call>' in text


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"content": "x"}, r"messages\[1\]\.role"),
        ({"role": "user", "content": 3}, r"messages\[1\]\.content must be"),
        (
            {"role": "user", "content": [{"text": "x"}]},
            r"messages\[1\]\.content\[0\] must be an object with a type",
        ),
    ],
)
def test_a_message_that_cannot_be_rendered_is_named(message: dict[str, object], problem: str) -> None:
    """Index and field."""
    with pytest.raises(ValueError, match=problem):
        render_chat([{"role": "user", "content": "fine"}, message])


def test_an_answer_ends_with_the_token_that_completes_a_stop_string() -> None:
    """The string is not shown; tokens that only belong to it show nothing."""
    pieces = ["abcd", "efgh", "ijkl", "mnop"]
    assert cut_at_stop(pieces, []) == (pieces, None)
    assert cut_at_stop(pieces, ["zz"]) == (pieces, None)
    assert cut_at_stop(pieces, ["jk"]) == (["abcd", "efgh", "i"], "jk")
    assert cut_at_stop(pieces, ["defghi"]) == (["abc", "", ""], "defghi")


def test_the_stop_string_completed_first_wins_then_the_one_named_first() -> None:
    """As in vLLM, which looks after every token."""
    pieces = ["abcd", "efgh"]
    assert cut_at_stop(pieces, ["h", "b"])[1] == "b"
    assert cut_at_stop(pieces, ["g", "f"])[1] == "g"
