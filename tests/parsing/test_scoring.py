"""Ranking, scores, classes, moderation: their fields in the ways in which engines name them."""

from __future__ import annotations

from typing import Any

import pytest

from igw.errors import BadRequest
from tests.parsing.samples import asked, text


@pytest.mark.parametrize(
    ("path", "fields", "prompt"),
    [
        ("/v1/rerank", {"documents": ["a", "b"], "query": "q"}, b'"q["a","b"'),
        ("/v2/rerank", {"query": "q", "documents": ["a"]}, b'"q["a"'),
        ("/rerank", {"query": "q", "documents": ["a"], "model": "m"}, b'"q["a"'),
        ("/score", {"text_1": "a", "text_2": ["b"]}, b'"a["b"'),
        ("/v1/score", {"queries": "a", "documents": "b"}, b'"a"b'),
        ("/score", {"data_1": "a", "data_2": "b"}, b'"a"b'),
        ("/classify", {"input": ["a"]}, b'["a"'),
        ("/classify", {"messages": [{"content": "a"}]}, b'[{"content":"a"}'),
        ("/pooling", {"input": "a"}, b'"a'),
        ("/v1/moderations", {"input": "a"}, b'"a'),
    ],
)
def test_its_prompt_is_what_is_compared(path: str, fields: dict[str, Any], prompt: bytes) -> None:
    """No token of output is wanted, and the model need not be named."""
    request = asked(path, **fields)
    assert (text(request), request.max_output_tokens, request.model) == (prompt, 0, fields.get("model", ""))


@pytest.mark.parametrize(
    ("path", "fields", "missing"),
    [
        ("/rerank", {"query": "q"}, "documents"),
        ("/rerank", {"documents": ["a"]}, "query"),
        ("/score", {"text_1": "a"}, "text_2"),
        ("/score", {}, "queries"),
        ("/classify", {}, "input"),
    ],
)
def test_a_missing_half_is_named(path: str, fields: dict[str, Any], missing: str) -> None:
    """Of the way of writing that was begun."""
    with pytest.raises(BadRequest, match=f"`{missing}` not found"):
        asked(path, **fields)
