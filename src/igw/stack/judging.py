"""Whether an answer is right: to the letter against simulated servers, by its form against real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from igw.simulator.text import answer as words
from igw.simulator.text import render_chat, tokenize
from igw.stack.drive import Answer, Messages
from igw.stack.traffic import Turn


def exact(messages: Messages, turn: Turn, answer: Answer) -> str:
    """Say what differs from what a simulated server must answer: text, prompt tokens, completion tokens."""
    prompt = tokenize(render_chat(cast("list[Mapping[str, Any]]", messages)))
    expected = "".join(words(prompt, turn.max_tokens))
    if answer.text != expected:
        return f"the text is {answer.text[:80]!r} instead of {expected[:80]!r}"
    if answer.prompt_tokens != len(prompt):
        return f"usage counts {answer.prompt_tokens} prompt tokens, there are {len(prompt)}"
    if answer.completion_tokens != turn.max_tokens:
        return f"usage counts {answer.completion_tokens} completion tokens, there are {turn.max_tokens}"
    return plausible(messages, turn, answer)


def plausible(messages: Messages, turn: Turn, answer: Answer) -> str:
    """Say what no server could mean: no text, or token counts that contradict the request."""
    del messages
    if not answer.text:
        return "the answer is empty"
    if not 0 <= answer.cached_tokens <= answer.prompt_tokens or not answer.prompt_tokens:
        return f"usage counts {answer.cached_tokens} of {answer.prompt_tokens} prompt tokens as cached"
    if not 1 <= answer.completion_tokens <= turn.max_tokens:
        return f"usage counts {answer.completion_tokens} completion tokens, {turn.max_tokens} were allowed"
    return ""
