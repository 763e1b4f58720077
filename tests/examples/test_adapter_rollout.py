"""`examples/adapter-rollout`: who answers for `food-review`, that conversations stay, and that a rollback is whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.examples.running import Example, running, under_load

MODEL = "food-review"
V1, V2 = "food-review-v1", "food-review-v2"


def adapters(example: Example) -> Counter[str]:
    """Return how many requests each adapter has got."""
    return example.counts("llm_d_epp_model_rewrite_decisions_total", "target_model")


def sides(example: Example, chats: list[list[dict[str, Any]]]) -> list[str]:
    """Send chats one after another and return which adapter each was for."""
    found, before = [], adapters(example)
    for messages in chats:
        status, _ = example.chat(MODEL, messages)
        assert 200 == status
        after = adapters(example)
        found += (after - before).elements()
        before = after
    return found


def test_a_tenth_tries_the_new_release_and_conversations_stay(tmp_path: Path) -> None:
    """The README from top to bottom. Sides follow from hashes, so that the same conversations are drawn each time."""
    with running("adapter-rollout", tmp_path) as example:
        ask, where, half, back = example.code("bash")
        assert f'100 "model":"{MODEL}"' == example.shell(ask)
        first = adapters(example)
        assert 100 == first.total()
        assert 3 <= first[V2] <= 20
        assert f'target_model="{V1}"' in example.shell(where)

        begun = [[{"role": "user", "content": f"Conversation {number}"}] for number in range(20)]
        drawn = sides(example, begun)
        assert {V1, V2} == set(drawn)
        further = [{"role": "assistant", "content": "Well."}, {"role": "user", "content": "And now?"}]
        assert drawn == sides(example, [[*messages, *further] for messages in begun])

        with under_load(example, MODEL) as seen:
            example.edit(half)
        assert {200} == set(seen)
        after = sides(example, begun)
        assert {V2} == {now for was, now in zip(drawn, after, strict=True) if was == V2}
        assert 5 <= after.count(V2) <= 15

        with under_load(example, MODEL) as seen:
            example.edit(back)
        assert {200} == set(seen)
        before = adapters(example)
        example.shell(ask)
        assert Counter({V1: 100}) == adapters(example) - before
