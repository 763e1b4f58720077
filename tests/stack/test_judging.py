"""Which answers are right."""

from __future__ import annotations

import msgspec
import pytest

from igw.simulator.text import answer as words
from igw.simulator.text import render_chat, tokenize
from igw.stack.drive import Answer, Messages
from igw.stack.judging import exact, plausible
from igw.stack.traffic import Turn

MESSAGES: Messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
TURN = Turn("Why?", max_tokens=5, streamed=False, pause_seconds=0)
PROMPT = tokenize(render_chat([dict(message) for message in MESSAGES]))
RIGHT = Answer(streamed=False, text="".join(words(PROMPT, 5)), prompt_tokens=len(PROMPT), completion_tokens=5)


def test_the_words_a_simulated_server_must_say_are_right() -> None:
    """Nothing to complain of, by either judge."""
    assert exact(MESSAGES, TURN, RIGHT) == ""
    assert plausible(MESSAGES, TURN, RIGHT) == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"text": RIGHT.text[:-1]}, "the text is"),
        ({"text": RIGHT.text + "x"}, "the text is"),
        ({"prompt_tokens": 3}, "3 prompt tokens"),
        ({"completion_tokens": 4}, "4 completion tokens"),
        ({"cached_tokens": 10_000}, "10000 of"),
    ],
)
def test_the_slightest_difference_is_wrong(change: dict[str, object], complaint: str) -> None:
    """Text to the letter, tokens to the number."""
    assert complaint in exact(MESSAGES, TURN, msgspec.structs.replace(RIGHT, **change))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"text": ""}, "empty"),
        ({"prompt_tokens": 0}, "0 of 0 prompt tokens"),
        ({"completion_tokens": 6}, "5 were allowed"),
        ({"completion_tokens": 0}, "0 completion tokens"),
    ],
)
def test_real_servers_must_at_least_make_sense(change: dict[str, object], complaint: str) -> None:
    """Without knowing the words."""
    assert complaint in plausible(MESSAGES, TURN, msgspec.structs.replace(RIGHT, **change))
