"""Classes and moderations: the same for the same text, and whole."""

from __future__ import annotations

from typing import Any

import pytest

from igw.simulator.http.classifying import CATEGORIES, probability
from igw.simulator.text import tokenize
from tests.simulator.site import Site


async def test_each_text_has_a_class_with_its_probabilities(site: Site) -> None:
    """Fields are vLLM's; probabilities add up."""
    status, said = await site.post("/classify", {"model": "demo", "input": ["Hello", "Good night"]})
    assert (200, "list", [0, 1]) == (status, said["object"], [each["index"] for each in said["data"]])
    for each in said["data"]:
        assert sum(each["probs"]) == pytest.approx(1.0)
        assert each["label"] == ("negative", "positive")[each["probs"][1] > 0.5]
    assert 5 == said["usage"]["prompt_tokens"]


async def test_the_sdk_gets_a_moderation_of_each_text(site: Site) -> None:
    """Every category, flagged where the score is high."""
    texts = [f"text {number}" for number in range(40)]
    reply = await site.openai.moderations.create(model="demo", input=texts)
    assert 40 == len(reply.results)
    for text, result in zip(texts, reply.results, strict=True):
        scores = {category: probability(tokenize(text), category) for category in CATEGORIES}
        assert scores == result.category_scores.model_dump(by_alias=True)
        assert result.flagged == (max(scores.values()) > 0.99)
    assert any(result.flagged for result in reply.results)


@pytest.mark.parametrize("body", [{"input": []}, {"input": ""}, {"input": ["a", ""]}, {}])
async def test_nothing_cannot_be_classified(site: Site, body: dict[str, Any]) -> None:
    """On either route."""
    for path in ("/classify", "/v1/moderations"):
        assert 400 == (await site.post(path, body))[0]
