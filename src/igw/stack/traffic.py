"""What `igw up --check` asks: conversations that share system prompts. The same seed gives the same ones.

Sending them is in `drive`.
"""

from __future__ import annotations

import random

import msgspec


class Turn(msgspec.Struct, frozen=True):
    """One question of a conversation."""

    question: str
    max_tokens: int
    streamed: bool
    pause_seconds: float
    """How long the client thinks before it asks."""


class Conversation(msgspec.Struct, frozen=True):
    """A system prompt, which other conversations have too, and the turns that follow it."""

    system: str
    turns: tuple[Turn, ...]


class Shape(msgspec.Struct, frozen=True):
    """How much traffic and of what kind. Words have five characters on average, a little over one token."""

    systems: int = 10
    conversations_per_system: int = 5
    turns: int = 4
    system_words: tuple[int, int] = (4000, 8000)
    question_words: tuple[int, int] = (20, 200)
    answer_tokens: tuple[int, int] = (8, 48)
    longest_pause_seconds: float = 0.8
    streamed_ratio: float = 0.7


_TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do any like my now over such our man "
    "me even most made after also well must before through years much where way down should because long each just "
    "state people those too good very make world still see own work men day get here old life both between under"
)
_WORDS = _TEXT.split()


def conversations(seed: int, shape: Shape = Shape()) -> tuple[Conversation, ...]:  # noqa: B008 - frozen
    """Return the conversations of *seed*, those that share a system prompt spread over the list."""
    draw = random.Random(seed)
    systems = [_words(draw, shape.system_words) for _ in range(shape.systems)]
    order = systems * shape.conversations_per_system
    draw.shuffle(order)
    return tuple(
        Conversation(system, tuple(_turn(draw, shape) for _ in range(shape.turns))) for system in order
    )


def _turn(draw: random.Random, shape: Shape) -> Turn:
    return Turn(
        question=_words(draw, shape.question_words),
        max_tokens=draw.randint(*shape.answer_tokens),
        streamed=draw.random() < shape.streamed_ratio,
        pause_seconds=draw.uniform(0, shape.longest_pause_seconds),
    )


def _words(draw: random.Random, between: tuple[int, int]) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(*between)))
