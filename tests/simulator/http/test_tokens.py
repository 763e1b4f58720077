"""Tokens of a text and back, as vLLM tells them."""

from __future__ import annotations

import pytest

from igw.simulator.text import render_chat, tokenize
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import HELLO, Site


async def test_a_text_is_cut_into_tokens(site: Site) -> None:
    """With the texts of the tokens when they are asked for."""
    status, body = await site.post("/tokenize", {"prompt": "hello world"})
    assert (status, form(body)) == (200, form(ANSWERS["tokenize"]))
    assert body["tokens"] == list(tokenize("hello world"))
    _, body = await site.post("/tokenize", {"prompt": "hello world", "return_token_strs": True})
    assert form(body) == form(ANSWERS["tokenize with strings"])
    assert body["token_strs"] == ["hell", "o wo", "rld"]


@pytest.mark.parametrize("generation", [True, False])
async def test_a_conversation_has_the_tokens_it_is_answered_from(site: Site, generation: bool) -> None:
    """Open for the answer unless told otherwise."""
    ask = {"messages": HELLO, "add_generation_prompt": generation}
    _, body = await site.post("/tokenize", ask)
    text = render_chat(HELLO, add_generation_prompt=generation)
    assert (body["count"], body["tokens"]) == (len(tokenize(text)), list(tokenize(text)))
    assert text.rstrip().endswith("assistant") == generation


@pytest.mark.parametrize("text", ["hello world", "Grüße, 世界 🌍", ""])
async def test_tokens_become_the_text_again(site: Site, text: str) -> None:
    """In any script."""
    _, tokens = await site.post("/tokenize", {"prompt": text})
    assert await site.post("/detokenize", {"tokens": tokens["tokens"]}) == (200, {"prompt": text})


@pytest.mark.parametrize(
    ("path", "ask", "status"),
    [
        ("/tokenize", {}, 400),
        ("/tokenize", {"messages": [{"content": "x"}]}, 400),
        ("/tokenize", {"prompt": "x", "model": "nope"}, 404),
        ("/detokenize", {"tokens": [-1]}, 400),
        ("/detokenize", {"tokens": "x"}, 400),
        ("/detokenize", {"tokens": [1], "model": "nope"}, 404),
    ],
)
async def test_what_cannot_be_cut_is_refused(
    site: Site, path: str, ask: dict[str, object], status: int
) -> None:
    """In vLLM's error object."""
    got, body = await site.post(path, ask)
    assert (got, body["error"]["code"]) == (status, status)
