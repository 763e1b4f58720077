"""vLLM's own HTTP API of tokens, `inference/v1/generate`: what its render APIs give back. Its gRPC is in `parsing.vllm_grpc`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import msgspec

from igw.errors import BadRequest
from igw.parsing.api import Api, Body, Found, Parser
from igw.parsing.json_body import decoded, model_name
from igw.request import Head, Media


class _Placeholder(msgspec.Struct):
    offset: int
    length: int


class _Features(msgspec.Struct):
    """By modality, one behind the other; a hash may be missing."""

    mm_hashes: dict[str, list[str | None]] = {}
    mm_placeholders: dict[str, list[_Placeholder]] = {}


class _Sampling(msgspec.Struct):
    max_tokens: int | None = None


class Fields(msgspec.Struct):
    """The fields that matter for routing."""

    token_ids: list[int]
    model: msgspec.Raw = msgspec.Raw()
    features: _Features | None = None
    sampling_params: _Sampling | None = None
    stream: bool | None = None
    cache_salt: str | None = None
    priority: int | None = None


_decode = msgspec.json.Decoder(Fields).decode
_SUFFIX = "inference/v1/generate"


def _generate(_head: Head, body: Body) -> Found:
    fields = decoded(_decode, body, _SUFFIX)
    model = model_name(fields.model)
    try:
        prompt = memoryview(array("I", fields.token_ids)).cast("B")
    except OverflowError as error:
        raise BadRequest(f"`token_ids` in the request body is no list of tokens: {error}") from None
    if not prompt.nbytes:
        raise BadRequest("`token_ids` in the request body is empty")
    return Found(
        model=model,
        model_value=memoryview(fields.model) if model else None,
        stream=bool(fields.stream),
        # Before the prompt is looked at: media write their hashes into it.
        media=tuple(_media(fields.features, prompt)) if fields.features is not None else (),
        prompt=(prompt,),
        cache_salt=fields.cache_salt or "",
        max_output_tokens=fields.sampling_params.max_tokens if fields.sampling_params is not None else None,
        priority=fields.priority,
    )


def _media(features: _Features, prompt: memoryview) -> Iterator[Media]:
    """Yield the media of *features*; the hash of each takes the place of its tokens, which are alike for all."""
    for kind, hashes in features.mm_hashes.items():
        placeholders = features.mm_placeholders.get(kind, [])
        if len(placeholders) != len(hashes):
            raise BadRequest(
                f"`features.mm_placeholders` has {len(placeholders)} of `{kind[:20]}`, `features.mm_hashes` has {len(hashes)}"
            )
        for digest, place in zip(hashes, placeholders, strict=True):
            end = place.offset + place.length
            if not 0 <= place.offset < end <= len(prompt) // 4:
                raise BadRequest(f"a placeholder of `{kind[:20]}` in `features` is not within `token_ids`")
            if digest:
                over = prompt[place.offset * 4 : end * 4]
                written = digest.encode()[: len(over)]
                over[: len(written)] = written
                yield Media(kind, digest, place.length)


VLLM_HTTP = Parser("vllmhttp-parser", (Api(_SUFFIX, _generate, json=True),))
