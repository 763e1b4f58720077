"""Counts of tokens."""

from __future__ import annotations

import json

from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.http.deciding import Choice
from igw.simulator.http.usage import Counts, counts, running_usage, stream_usage, whole_usage

SEQUENCE = Sequence("x", prompt_tokens=40, output_tokens=5)
CHOICES = [Choice(index, SEQUENCE, [], None, first=index % 2 == 0) for index in range(4)]
ENDED = [(choice, Emission(SEQUENCE, 1, 5, 32, 0.0)) for choice in CHOICES]


def test_a_prompt_counts_once_and_every_answer() -> None:
    """Two prompts with two choices each."""
    assert counts(ENDED) == Counts(prompt=80, generated=20, cached=64)


def test_a_stream_leaves_out_what_a_whole_answer_says_is_null() -> None:
    """As vLLM does."""
    sums = {"prompt_tokens": 80, "total_tokens": 100, "completion_tokens": 20}
    assert stream_usage(ENDED, None) == sums
    assert stream_usage(ENDED, {"cached_tokens": 64})["prompt_tokens_details"] == {"cached_tokens": 64}
    assert whole_usage(ENDED, None) == sums | {
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


def test_a_chunk_counts_what_was_generated_so_far() -> None:
    """A field to be put behind others."""
    usage = json.loads(b'{"x":0' + running_usage(CHOICES[0], 3) + b"}")["usage"]
    assert usage == {"prompt_tokens": 40, "total_tokens": 43, "completion_tokens": 3}
