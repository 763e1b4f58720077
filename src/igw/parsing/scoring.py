"""What is computed from texts without writing any: ranking, scores, classes, moderation, pooled vectors. Embeddings are in `parsing.openai`.

Fields as vLLM, Cohere (rerank) and OpenAI (moderations) have them. Most servers run one model here, so none need be named.
"""

from __future__ import annotations

import msgspec

from igw.parsing.api import Api, Body, Found, Read
from igw.parsing.json_body import decoded, model_name, need, open_ended, present
from igw.request import Head


class Fields(msgspec.Struct):
    """The fields of all of them."""

    model: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    query: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    queries: msgspec.Raw = msgspec.Raw()
    text_1: msgspec.Raw = msgspec.Raw()
    text_2: msgspec.Raw = msgspec.Raw()
    data_1: msgspec.Raw = msgspec.Raw()
    data_2: msgspec.Raw = msgspec.Raw()
    cache_salt: str | None = None
    priority: int | None = None


_decode = msgspec.json.Decoder(Fields).decode


def _reader(suffix: str, *ways: tuple[str, ...]) -> Read:
    """Return how an API is read. *ways*: sets of fields, one of which must be there; it is the prompt."""

    def read(_head: Head, body: Body) -> Found:
        fields = decoded(_decode, body, suffix)
        model = model_name(fields.model)
        way = next((way for way in ways if present(getattr(fields, way[0]))), ways[0])
        for name in way:
            need(getattr(fields, name), name, suffix)
        return Found(
            model=model,
            model_value=memoryview(fields.model) if model else None,
            prompt=open_ended(*[getattr(fields, name) for name in way]),
            cache_salt=fields.cache_salt or "",
            max_output_tokens=0,
            priority=fields.priority,
            contents=[getattr(fields, name) for name in way if name == "messages"],
        )

    return read


_WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "rerank": (("query", "documents"),),
    "score": (("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2")),
    "classify": (("input",), ("messages",)),
    "pooling": (("input",), ("messages",)),
    "moderations": (("input",),),
}

SCORING_APIS: tuple[Api, ...] = tuple(
    Api(suffix, _reader(suffix, *ways), json=True) for suffix, ways in _WAYS.items()
)
"""None of them is upstream's."""
