"""vLLM's gRPC service `vllm.grpc.engine.VllmEngine`. Framing is in `parsing.grpc_frames`, its answers are in `parsing.grpc_answers`.

Numbers are those of the fields in vllm_engine.proto, as in the package smg-grpc-proto 0.4. These messages name no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_hexdigest

from igw.errors import BadRequest, TooLarge
from igw.parsing.answers import AnswerReader
from igw.parsing.api import Api, Body, Found, Parser
from igw.parsing.grpc_answers import EmbedAnswer, GenerateAnswer
from igw.parsing.grpc_frames import only_message
from igw.parsing.media import (
    DEFAULT_PIXELS,
    DEFAULT_SECONDS,
    FRAMES_PER_SECOND,
    PIXELS_PER_TOKEN,
    SOUND_TOKENS_PER_SECOND,
)
from igw.parsing.wire_format import Malformed, Message, uint32s
from igw.request import Head, Media

SERVICE = "vllm.grpc.engine.VllmEngine"

MOST_TOKENS = 1 << 24
"""Of a prompt. More than any model takes; it bounds the memory that reading one needs."""

_PICTURE_TOKENS = DEFAULT_PIXELS[0] * DEFAULT_PIXELS[1] // PIXELS_PER_TOKEN
_REFERENCE_TOKENS: Mapping[str, int] = {
    "image": _PICTURE_TOKENS,
    "video": round(DEFAULT_SECONDS * FRAMES_PER_SECOND * _PICTURE_TOKENS),
    "audio": round(DEFAULT_SECONDS * SOUND_TOKENS_PER_SECOND),
}
"""What is assumed of a medium of which only the URL is there, as in other APIs; the model server fetches it."""

_KINDS: Mapping[int, str] = {2: "audio", 3: "video"}
"""`smg.grpc.common.Modality`; everything else, unset included, is an image."""

_HASH_BYTES = 128

_Tokens: TypeAlias = NDArray[np.uint32]


def _generate(message: Message) -> Found:
    """Read a GenerateRequest: 2 tokenized, 3 text, 4 sampling_params (8 max_tokens), 5 stream, 7 and 11 mm_inputs, 10 media_refs."""
    texts = message.parts(3)
    if not texts and not message.parts(2):
        raise BadRequest("`text` or `tokenized` not found in the request; Generate needs one of them")
    tokens = _tokens(message)
    media = [medium for number in (7, 11) for each in message.each(number) for medium in _media(each, tokens)]
    references = [_reference(each) for each in message.inner(10).each(1)]
    # Where a medium stands in a text is not said: at the end it tells apart what is equal but for it.
    unplaced = media + references if texts else references
    return Found(
        stream=bool(message.number(5)),
        prompt=(
            texts[-1] if texts else tokens.view(np.uint8).data,
            *map(_filler, unplaced),
        ),
        max_output_tokens=message.inner(4).number(8),
        media=(*media, *references),
    )


def _embed(message: Message) -> Found:
    """Read an EmbedRequest: 2 tokenized."""
    if not message.parts(2):
        raise BadRequest("`tokenized` not found in the request; Embed needs it")
    return Found(prompt=(_tokens(message).view(np.uint8).data,))


def _tokens(message: Message) -> _Tokens:
    """Return the tokens of `tokenized`, field 2 of both (2 input_ids): four bytes each, which is what a token counts everywhere here."""
    return uint32s(message.inner(2).every(2), MOST_TOKENS)


def _media(inputs: Message, tokens: _Tokens) -> Iterator[Media]:
    """Yield what a MultimodalInputs has: 2 pixel_values (1 inline), 5 mm_placeholders, 6 mm_hashes, 10 modality.

    In *tokens* the placeholders of a medium are alike for all: its hash is written over the first of them, as for `inference/v1/generate`,
    so that prompts are equal as far as their media are.
    """
    kind = _KINDS.get(inputs.number(10) or 0, "image")
    pixels = inputs.inner(2).parts(1)
    # A hash the client made is taken as it is, up to what a hash has.
    hashes = [str(part[:_HASH_BYTES], "utf-8", "replace") for part in inputs.parts(6)]
    hashes = hashes or [xxh3_128_hexdigest(part) for part in pixels[-1:]]
    places = [(each.number(1) or 0, each.number(2) or 0) for each in inputs.each(5)]
    for index, digest in enumerate(hashes):
        offset, length = places[index] if index < len(places) else (0, 0)
        over = tokens[offset : offset + length].view(np.uint8)
        written = np.frombuffer(digest.encode(), np.uint8)[: len(over)]
        over[: len(written)] = written
        yield Media(kind, digest, length, sum(map(len, pixels)) // len(hashes))


def _reference(item: Message) -> Media:
    """Read a MediaRef: 1 modality, 2 url."""
    url = b"".join(item.parts(2)[-1:])
    kind = _KINDS.get(item.number(1) or 0, "image")
    return Media(kind, xxh3_128_hexdigest(url), _REFERENCE_TOKENS[kind])


def _filler(medium: Media) -> memoryview:
    """Return four bytes for each token of *medium*, which are those of its hash, again and again."""
    digest = np.frombuffer(medium.hash.encode(), np.uint8)
    return np.resize(digest, max(len(digest), medium.tokens * 4)).data


def _call(
    method: str,
    read: Callable[[Message], Found],
    answer: Callable[[], AnswerReader],
    oneof: Sequence[int] = (),
) -> Api:
    def reading(_head: Head, body: Body) -> Found:
        try:
            return read(Message(only_message(body), oneof))
        except Malformed as error:
            raise BadRequest(f"the request is not a valid {method}Request: {error}") from None
        except OverflowError:
            raise TooLarge(f"the prompt has more than {MOST_TOKENS} tokens") from None

    return Api(f"{SERVICE}/{method}", reading, answer=answer)


def _not_read(_head: Head, _body: Body) -> Found:
    return Found()


_OTHERS = (
    "HealthCheck", "FlushCache", "StartProfile", "StopProfile", "Abort", "GetModelInfo", "GetServerInfo", "GetLoads",
    "GetTokenizer", "SubscribeKvEvents",
)  # fmt: skip

VLLM_GRPC = Parser(
    "vllmgrpc-parser",
    (
        _call("Generate", _generate, GenerateAnswer, oneof=(2, 3)),
        _call("Embed", _embed, EmbedAnswer),
        # Balanced, and not refused where this parser is the only one.
        *[Api(f"{SERVICE}/{method}", _not_read) for method in _OTHERS],
    ),
)
