"""Text -> tokens: the law that pieces have the tokens of the whole, for every kind of tokenizer, and what is remembered."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from igw.tokenizing import encoding
from igw.tokenizing.encoding import Encoder
from tests.tokenizing import models

KINDS = {
    each.__name__: cache(each)
    for each in (
        models.byte_level,
        models.metaspace,
        models.with_neighbours,
        models.words,
        models.single_words,
    )
}
BITS = [
    *models.SPECIAL, "<|left|>", "<|right|>", "fox", " fox ", "foxes", "Hello", "<|", "|>", " ", "  ", "\n", "\n\n", "\t", "é", "e\u0301", "漢字",
    "🙂", "alpha beta ", "the quick brown ", "x" * 50, "<|end|><|user|>", "\u200d", "ﬁ",
]  # fmt: skip


def ids(tokens: bytes) -> list[int]:
    return array("I", tokens).tolist()


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut wherever a text may be cut."""
    monkeypatch.setattr(encoding, "_PIECE_CHARS", 1)


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(bits=st.lists(st.sampled_from(BITS) | st.text(max_size=8), max_size=30), again=st.data())
def test_pieces_have_the_tokens_of_the_whole(kind: str, bits: list[str], again: st.DataObject) -> None:
    """From scratch, and when a part is known from another text."""
    text = "".join(bits).encode("utf-8", "ignore").decode()
    encoder, fresh = Encoder(KINDS[kind](), 1 << 20), KINDS[kind]()
    cut = again.draw(st.integers(0, len(text)))
    for each in (text[:cut], text, text[cut:], text):
        assert (
            ids(encoder.tokens(each, add_special_tokens=False))
            == fresh.encode(each, add_special_tokens=False).ids
        )


def counted(make: Callable[[], Tokenizer], most_bytes: int = 1 << 20) -> tuple[Encoder, list[str]]:
    """Return an encoder, and the texts that its tokenizer is really asked for."""
    encoder, asked = Encoder(make(), most_bytes), list[str]()
    inner = encoder._tokenizer

    class Counting:
        def encode(self, text: str, *, add_special_tokens: bool) -> object:
            asked.append(text)
            return inner.encode(text, add_special_tokens=add_special_tokens)

    encoder._tokenizer = Counting()
    return encoder, asked


def test_of_a_conversation_that_goes_on_only_what_is_new_is_computed() -> None:
    """And of one that begins alike, what differs."""
    encoder, asked = counted(models.byte_level)
    turns = [f"<|user|>{'hello world ' * 100}{turn}<|end|>" for turn in range(5)]
    for turn in range(1, 6):
        asked.clear()
        encoder.tokens("".join(turns[:turn]), add_special_tokens=False)
        # The last piece may still grow, so the next text cuts it elsewhere.
        assert sum(map(len, asked)) <= len(turns[0]) + 2 * encoding._PIECE_CHARS
    asked.clear()
    encoder.tokens("".join([*turns[:3], "<|user|>else<|end|>"]), add_special_tokens=False)
    assert sum(map(len, asked)) < 2 * encoding._PIECE_CHARS


def test_memory_is_bounded_in_bytes() -> None:
    """The piece that was not used for longest goes first."""
    encoder, asked = counted(models.byte_level, most_bytes=13_000)
    texts = [f"<|user|>{number} {'alpha beta ' * 200}<|end|>" for number in range(20)]
    for text in texts:
        encoder.tokens(texts[0], add_special_tokens=False)
        encoder.tokens(text, add_special_tokens=False)
        assert 0 < encoder.size_bytes <= 13_000
    beginnings = [text[:12] for text in asked]
    assert beginnings.count(texts[0][:12]) == 1, "it was used all the time"
    assert beginnings.count(texts[1][:12]) == 1
    asked.clear()
    encoder.tokens(texts[1], add_special_tokens=False)
    assert [text[:12] for text in asked][:1] == [texts[1][:12]], "it was forgotten"


def test_what_does_not_fit_is_not_remembered() -> None:
    """A size of 0 remembers nothing."""
    encoder, asked = counted(models.byte_level, most_bytes=0)
    assert encoder.tokens("hello", add_special_tokens=False) == encoder.tokens(
        "hello", add_special_tokens=False
    )
    assert (asked, encoder.size_bytes) == (["hello"] * 2, 0)


def test_tokens_that_are_put_around_every_text_are_put_around_completions() -> None:
    """Not around the text of a chat, whose template says them."""
    tokenizer = models.byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", 1)]
    )
    encoder = Encoder(tokenizer, 1 << 20)
    assert ids(encoder.tokens("hello", add_special_tokens=True)) == [1, 78, 363, 491]
    assert ids(encoder.tokens("hello", add_special_tokens=False)) == [78, 363, 491]


def test_what_a_file_says_of_truncation_is_not_done() -> None:
    """The engine does not do it either."""
    tokenizer = models.byte_level()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=10)
    assert len(ids(Encoder(tokenizer, 0).tokens("hello world", add_special_tokens=False))) == 5
