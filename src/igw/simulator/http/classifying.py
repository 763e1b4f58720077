"""What a server says of texts as a classifier: `/classify` as vLLM has it, and OpenAI's moderations.

Each text is one prefill, as for `pooling`. Probabilities are a function of the tokens alone: texts that mean the same are not
classified alike.
"""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
from aiohttp import web
from xxhash import xxh3_64_intdigest

from igw.simulator.http.answering import head, json_response
from igw.simulator.http.call import text_or_tokens
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.pooling import compute, listed
from igw.simulator.serving import Serving

LABELS = ("negative", "positive")

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""OpenAI's, all of them in each answer."""

FLAGGED_ABOVE = 0.99


class ClassifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/classify` or `/v1/moderations`."""

    input: str | list[str]
    model: str | None = None


_decoder = msgspec.json.Decoder(ClassifyRequest)
_encode = msgspec.json.encode


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of these APIs."""

    async def classify(request: web.Request) -> web.Response:
        asked, texts = await _computed(serving, request)
        data = [_class(index, text) for index, text in enumerate(texts)]
        return json_response(_encode(listed(serving, request, "classify-", asked.model, data, texts)))

    async def moderations(request: web.Request) -> web.Response:
        asked, texts = await _computed(serving, request)
        named = head(serving, request, "modr-", serving.names.adapter(asked.model))
        results = [_moderation(text) for text in texts]
        return json_response(_encode({"id": named.id, "model": named.model, "results": results}))

    return [web.post("/classify", classify), web.post("/v1/moderations", moderations)]


def probability(text: array[int], of: str) -> float:
    """Return from 0 to 1 how much of a class a text is."""
    return xxh3_64_intdigest(text.tobytes() + of.encode()) / 2**64


async def _computed(serving: Serving, request: web.Request) -> tuple[ClassifyRequest, list[array[int]]]:
    arrived = serving.clock()
    asked = decode(_decoder, await request.read())
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    if not given:
        raise ApiError(400, "input must not be empty.", param="input")
    texts = [text_or_tokens(text) for text in given]
    await compute(serving, request, texts, asked.model, arrived)
    return asked, texts


def _class(index: int, text: array[int]) -> dict[str, Any]:
    positive = probability(text, LABELS[1])
    probabilities = [1.0 - positive, positive]
    label = LABELS[probabilities.index(max(probabilities))]
    return {"index": index, "label": label, "probs": probabilities, "num_classes": len(LABELS)}


def _moderation(text: array[int]) -> dict[str, Any]:
    scores = {category: probability(text, category) for category in CATEGORIES}
    flags = {category: score > FLAGGED_ABOVE for category, score in scores.items()}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
    }
