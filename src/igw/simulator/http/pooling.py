"""What a server computes from prompts without generating: embeddings, pooled vectors, scores, rankings.

vLLM serves these with models made for them; here every server does. Each prompt is one prefill and leaves nothing
in the cache. A vector is a function of the tokens: close texts are not close to each other.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from array import array
from typing import Any, Literal

import msgspec
import numpy as np
from aiohttp import web

from igw.simulator.engine.sequence import Sequence
from igw.simulator.generation import CannotRun, generating
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from igw.simulator.http.answering import chosen_runner, head, json_response
from igw.simulator.http.call import text_or_tokens
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.serving import Serving
from igw.simulator.text import render_chat, tokenize

_encode = msgspec.json.encode
_Text = str | list[str]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/v1/embeddings` or `/pooling`."""

    input: str | list[str | int | list[int]] | None = None
    messages: list[dict[str, Any]] | None = None
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/score`, in the two ways vLLM names its fields."""

    queries: _Text | None = None
    documents: _Text | None = None
    text_1: _Text | None = None
    text_2: _Text | None = None
    model: str | None = None


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/rerank`; `top_n` 0 asks for all."""

    query: str
    documents: list[str]
    top_n: int = 0
    model: str | None = None


_embedding_decoder = msgspec.json.Decoder(EmbeddingRequest)
_score_decoder = msgspec.json.Decoder(ScoreRequest)
_rerank_decoder = msgspec.json.Decoder(RerankRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of these APIs, under each name vLLM has for them."""

    async def embeddings(request: web.Request) -> web.Response:
        return await _vectors(serving, request, "embd-", "embedding", "embedding")

    async def pooling(request: web.Request) -> web.Response:
        return await _vectors(serving, request, "pool-", "pooling", "data")

    async def score(request: web.Request) -> web.Response:
        return await _score(serving, request)

    async def rerank(request: web.Request) -> web.Response:
        return await _rerank(serving, request)

    found = [web.post("/v1/embeddings", embeddings), web.post("/pooling", pooling)]
    found += [web.post(path, score) for path in ("/score", "/v1/score")]
    return found + [web.post(path, rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")]


def vector(tokens: array[int], dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a vector of length 1 that depends on the tokens alone. Shape: [dimensions]."""
    drawn = hashlib.shake_128(tokens.tobytes()).digest(2 * dimensions)
    values = np.frombuffer(drawn, dtype="<u2").astype(np.float64) - 32767.5
    return np.asarray(values / np.linalg.norm(values), dtype=np.float32)


def score(first: array[int], second: array[int]) -> float:
    """Return from 0 to 1 how well two texts fit, by the share of their tokens they have in common."""
    one, two = set(first), set(second)
    return len(one & two) / len(one | two)


async def _vectors(
    serving: Serving, request: web.Request, prefix: str, kind: str, field: str
) -> web.Response:
    arrived = serving.clock()
    asked = decode(_embedding_decoder, await request.read())
    prompts = _prompts(asked)
    dimensions = asked.dimensions or serving.config.embedding_dimensions
    if not 1 <= dimensions <= serving.config.embedding_dimensions:
        message = f"dimensions must be from 1 to {serving.config.embedding_dimensions}, got {dimensions}."
        raise ApiError(400, message, param="dimensions")
    await compute(serving, request, prompts, asked.model, arrived)
    data = []
    for index, prompt in enumerate(prompts):
        values = vector(prompt, dimensions)
        shown: Any = values.tolist()
        if asked.encoding_format == "base64":
            shown = base64.b64encode(values.astype("<f4").tobytes()).decode()
        data.append({"index": index, "object": kind, field: shown})
    return json_response(_encode(listed(serving, request, prefix, asked.model, data, prompts)))


async def _score(serving: Serving, request: web.Request) -> web.Response:
    arrived = serving.clock()
    asked = decode(_score_decoder, await request.read())
    queries = _texts(asked.queries if asked.text_1 is None else asked.text_1, "queries")
    documents = _texts(asked.documents if asked.text_2 is None else asked.text_2, "documents")
    if len(queries) not in {1, len(documents)}:
        message = f"There must be one query, or as many as documents ({len(documents)}), got {len(queries)}."
        raise ApiError(400, message, param="queries")
    pairs = list(zip(queries * (len(documents) // len(queries)), documents, strict=True))
    await compute(serving, request, [one + two for one, two in pairs], asked.model, arrived)
    data = [{"index": index, "object": "score", "score": score(*pair)} for index, pair in enumerate(pairs)]
    counted = [one + two for one, two in pairs]
    return json_response(_encode(listed(serving, request, "score-", asked.model, data, counted)))


async def _rerank(serving: Serving, request: web.Request) -> web.Response:
    arrived = serving.clock()
    asked = decode(_rerank_decoder, await request.read())
    if asked.top_n < 0:
        raise ApiError(400, f"top_n must be at least 0, got {asked.top_n}.", param="top_n")
    query, documents = text_or_tokens(asked.query), _texts(asked.documents, "documents")
    pairs = [query + document for document in documents]
    await compute(serving, request, pairs, asked.model, arrived)
    results = [
        {
            "index": index,
            "document": {"text": text, "multi_modal": None},
            "relevance_score": score(query, document),
        }
        for index, (text, document) in enumerate(zip(asked.documents, documents, strict=True))
    ]
    results.sort(key=lambda result: -float(str(result["relevance_score"])))
    named = head(serving, request, "rerank-", serving.names.adapter(asked.model))
    tokens = sum(map(len, pairs))
    return json_response(
        _encode(
            {
                "id": named.id,
                "model": named.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "results": results[: asked.top_n or None],
            }
        )
    )


async def compute(
    serving: Serving, request: web.Request, prompts: list[array[int]], model: str | None, arrived: float
) -> None:
    """Let the engine prefill each prompt; ApiError 400 for one that is too long."""
    serving.check_ready()
    adapter, runner = serving.names.adapter(model), chosen_runner(serving, request)
    sequences = [
        Sequence(id=uuid.uuid4().hex, prompt_tokens=len(prompt), output_tokens=1, adapter=adapter)
        for prompt in prompts
    ]
    with serving.loaded():
        await asyncio.sleep(FRONTEND_SECONDS / serving.config.speed)
        try:
            async with generating(runner, sequences, arrived, every_token=False) as generation:
                await generation.finish()
        except CannotRun as error:
            raise ApiError(400, str(error)) from error


def listed(
    serving: Serving,
    request: web.Request,
    prefix: str,
    model: str | None,
    data: list[dict[str, Any]],
    prompts: list[array[int]],
) -> dict[str, Any]:
    """Return the answer that holds *data*, an item per prompt, with what it cost."""
    named = head(serving, request, prefix, serving.names.adapter(model))
    tokens = sum(map(len, prompts))
    return {
        "id": named.id,
        "object": "list",
        "created": named.created,
        "model": named.model,
        "data": data,
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def _prompts(asked: EmbeddingRequest) -> list[array[int]]:
    if asked.messages is not None:
        try:
            return [tokenize(render_chat(asked.messages, add_generation_prompt=False))]
        except ValueError as error:
            raise ApiError(400, f"{error}.", param="messages") from error
    given = asked.input
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return [text_or_tokens(each) for each in given]  # type: ignore[arg-type]  # others are refused there
    if not given:
        raise ApiError(400, "input must not be empty.", param="input")
    return [text_or_tokens(given)]  # type: ignore[arg-type]


def _texts(given: _Text | None, name: str) -> list[array[int]]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise ApiError(400, f"{name} must not be empty.", param=name)
    return [text_or_tokens(text) for text in texts]
