"""What objects of counts say."""

from __future__ import annotations

from typing import Any

import pytest

from igw.parsing.usage import NOTHING, Usage, usage_of


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, NOTHING),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(5, 2, 4),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, Usage(5)),
        (
            {"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
            Usage(5, 2, 4),
        ),
        (
            {"input_tokens": 1, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 4},
            Usage(7, None, 4),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 4}, Usage(5, 2, 4)),
        ({"generated_tokens": 2, "input_length": 5, "prefill": []}, Usage(5, 2)),
        ({"generated_tokens": 2, "prefill": []}, Usage(None, 2)),
        ({"generated_tokens": 2, "prefill": [{}, {}, {}]}, Usage(3, 2)),
        ({"total_tokens": 5}, Usage(5)),
        ({"total_tokens": 5, "completion_tokens": 5}, Usage(None, 5)),
        ({"type": "duration", "seconds": 1.5}, Usage(audio_seconds=1.5)),
        ({"type": "tokens", "seconds": 1.5}, NOTHING),
        ({"type": "duration", "seconds": float("nan")}, NOTHING),
        ({"prompt_tokens": True, "completion_tokens": -1, "cached_tokens": 1 << 60}, NOTHING),
        ({"prompt_tokens": 5.0, "completion_tokens": "2", "prompt_tokens_details": [4]}, NOTHING),
    ],
)
def test_every_engines_names_are_known(said: dict[str, Any], usage: Usage) -> None:
    """What is no count is not believed."""
    assert usage_of(said) == usage


def test_what_one_does_not_say_is_taken_from_the_other() -> None:
    """Zero is something said."""
    assert Usage(None, 0, 3).or_else(Usage(1, 2, 4, 5.0)) == Usage(1, 0, 3, 5.0)
