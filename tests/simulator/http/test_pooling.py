"""Embeddings, pooled vectors, scores and rankings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.http.pooling import score, vector
from igw.simulator.text import tokenize
from tests.simulator.site import HELLO, Site


@given(st.text(min_size=1), st.integers(1, 300))
def test_a_vector_has_length_one_and_depends_on_the_text_alone(text: str, dimensions: int) -> None:
    """As many values as asked for."""
    values = vector(tokenize(text), dimensions)
    assert values.shape == (dimensions,)
    assert np.linalg.norm(values) == pytest.approx(1.0, abs=1e-5)
    assert (values == vector(tokenize(text), dimensions)).all()


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_score_is_a_share(one: str, two: str) -> None:
    """Symmetric; a text fits itself best."""
    first, second = tokenize(one), tokenize(two)
    assert 0 <= score(first, second) == score(second, first) <= score(first, first) == 1


async def test_the_sdk_gets_a_vector_per_text(site: Site) -> None:
    """The SDK asks for base64 and decodes it; the numbers are those of the plain form."""
    reply = await site.openai.embeddings.create(model="demo", input=["one", "other"], dimensions=8)
    _, plain = await site.post("/v1/embeddings", {"input": ["one", "other"], "dimensions": 8})
    assert [each.embedding for each in reply.data] == [
        pytest.approx(each["embedding"], abs=1e-6) for each in plain["data"]
    ]
    assert [each.index for each in reply.data] == [0, 1]
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (3, 3)
    assert reply.data[0].embedding != reply.data[1].embedding


@pytest.mark.parametrize("given_", ["hello", [1, 2], [[1, 2]], ["hello"]])
async def test_the_input_is_text_tokens_or_a_list_of_either(site: Site, given_: Any) -> None:
    """1,024 values unless told."""
    _, body = await site.post("/v1/embeddings", {"input": given_, "encoding_format": "base64"})
    [each] = body["data"]
    assert len(np.frombuffer(base64.b64decode(each["embedding"]), "<f4")) == 1024
    assert (body["object"], each["object"]) == ("list", "embedding")
    assert body["id"].startswith("embd-")


async def test_a_conversation_can_be_embedded(site: Site) -> None:
    """An addition of vLLM to the form of OpenAI."""
    _, body = await site.post("/v1/embeddings", {"messages": HELLO})
    assert body["usage"]["completion_tokens"] == 0


async def test_pooling_names_its_data_otherwise(site: Site) -> None:
    """The same vectors."""
    _, pooled = await site.post("/pooling", {"input": "hello"})
    _, embedded = await site.post("/v1/embeddings", {"input": "hello"})
    assert pooled["data"][0]["data"] == embedded["data"][0]["embedding"]


async def test_a_prompt_is_computed_by_the_engine_and_not_kept(site: Site) -> None:
    """One prefill each, nothing cached."""
    await site.post("/v1/embeddings", {"input": ["hello " * 100] * 3})
    now = site.server.engine.statistics()
    assert (now.prompt_tokens, now.prompt_tokens_cached, now.kv_usage) == (450, 0, 0)


@pytest.mark.parametrize("names", [("queries", "documents"), ("text_1", "text_2")])
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_one_text_is_scored_against_each_of_others(
    site: Site, path: str, names: tuple[str, str]
) -> None:
    """Or one by one."""
    one, two = names
    _, body = await site.post(path, {one: "hello", two: ["hello", "x"]})
    assert [each["score"] for each in body["data"]] == [1.0, 0.0]
    _, body = await site.post(path, {one: ["a", "b"], two: ["b", "b"]})
    assert [each["score"] for each in body["data"]] == [0.0, 1.0]
    assert body["data"][0]["object"] == "score"


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_are_ranked(site: Site, path: str) -> None:
    """The best first, as many as asked for."""
    documents = ["nothing", "deep blue sea", "deep blue sky, and more"]
    ask = {"query": "deep blue sea", "documents": documents}
    _, body = await site.post(path, ask)
    assert [each["index"] for each in body["results"]] == [1, 2, 0]
    assert body["results"][0]["document"] == {"text": "deep blue sea", "multi_modal": None}
    _, body = await site.post(path, ask | {"top_n": 1})
    assert len(body["results"]) == 1


@pytest.mark.parametrize(
    ("path", "ask", "status"),
    [
        ("/v1/embeddings", {"input": []}, 400),
        ("/v1/embeddings", {"input": ""}, 400),
        ("/v1/embeddings", {"input": ["a", ""]}, 400),
        ("/v1/embeddings", {"input": "a", "dimensions": 5000}, 400),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 400),
        ("/v1/embeddings", {"input": "a", "model": "nope"}, 404),
        ("/v1/embeddings", {"input": "a" * 600_000}, 400),
        ("/v1/embeddings", {"messages": [{"content": "x"}]}, 400),
        ("/score", {"queries": ["a", "b"], "documents": ["a", "b", "c"]}, 400),
        ("/score", {"queries": "a"}, 400),
        ("/rerank", {"query": "a", "documents": []}, 400),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, 400),
    ],
)
async def test_what_cannot_be_computed_is_refused(
    site: Site, path: str, ask: dict[str, Any], status: int
) -> None:
    """In vLLM's error object, before or by the engine."""
    got, body = await site.post(path, ask)
    assert (got, body["error"]["code"]) == (status, status)
