"""Media in messages: found in every API, equal wherever the same file stands, and in the prompt what the engine sees of them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from igw.errors import BadRequest
from igw.parsing.long_strings import Arriving
from igw.parsing.media import MOST_TOKENS
from igw.parsing.reading import read
from igw.prefix.hashing import block_hashes
from igw.request import Media, Request
from tests.parsing.samples import CHAT, asked, base64_of, head, png, text

SMALL = png(1024, 1024, b"small")
LARGE = png(2048, 1024, random.Random(1).randbytes(60_000))
URL = "https://example.com/cat.png"


def data_url(file: bytes, kind: str = "image/png") -> str:
    """Return *file* as a data URL."""
    return f"data:{kind};base64,{base64_of(file)}"


def chat(*blocks: Any, **headers: str) -> Request:
    """Return a chat with one message of *blocks*."""
    body = {"model": "m", "messages": [{"role": "user", "content": list(blocks)}]}
    return read(head(**headers), json.dumps(body).encode())


def image(url: str) -> dict[str, Any]:
    """Return a block of OpenAI's chat."""
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


SAY = {"type": "text", "text": "what is this?"}


@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "put aside"])
def test_the_same_file_is_the_same_medium_in_every_api(file: bytes) -> None:
    """By the hash of its base64, with the size and the tokens of its pixels."""
    encoded, url = base64_of(file), data_url(file)
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    claude = {"type": "image", "source": source}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [claude]}
    answer = {
        "type": "function_call_output",
        "call_id": "c",
        "output": [{"type": "input_image", "image_url": url}],
    }
    message = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
    requests = [
        chat(SAY, image(url)),
        chat(SAY, {"type": "image_url", "image_url": url}),
        chat({"image_url": {"url": url}}),
        asked("/v1/responses", model="m", input=[message]),
        asked("/v1/responses", model="m", input=[answer]),
        asked("/v1/conversations", items=[message]),
        asked("/v1/messages", model="m", messages=[{"role": "user", "content": [claude, SAY]}]),
        asked("/v1/messages", model="m", messages=[{"role": "user", "content": [result]}]),
        asked("/v1/embeddings", model="m", messages=[{"role": "user", "content": [image(url)]}]),
        asked("/v1/x/endpoints/7:rawPredict", messages=[{"role": "user", "content": [claude]}]),
    ]
    tokens = 1024 if file is SMALL else 2048
    expected = Media("image", xxh3_128_hexdigest(encoded.encode()), tokens, len(encoded))
    assert [request.media for request in requests] == [(expected,)] * len(requests)


@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "put aside"])
def test_in_the_prompt_a_medium_is_as_long_as_its_tokens(file: bytes) -> None:
    """Its hash, over and over, between what stands around it."""
    request = chat(
        {"type": "text", "text": "before"}, image(data_url(file)), {"type": "text", "text": "behind"}
    )
    (medium,) = request.media
    before, _, rest = text(request).partition(medium.hash.encode())
    assert before.endswith(b'{"type": "image_url", "image_url": {"url": "')
    assert b"before" in before
    assert rest.endswith(b'", "detail": "high"}}, {"type": "text", "text": "behind"}]}')
    middle = text(request)[len(before) : len(before) + medium.tokens * 4]
    assert set(middle.split(medium.hash.encode())) == {b""}
    assert abs(request.prompt_tokens - medium.tokens) < 60


def test_prompts_are_equal_up_to_the_first_medium_that_differs() -> None:
    """And conversations with pictures extend each other."""

    def hashes(*files: bytes) -> list[int]:
        request = chat(*[block for file in files for block in (SAY, image(data_url(file)))])
        return block_hashes(request.seed, request.prompt)

    one, two, other = hashes(SMALL), hashes(SMALL, LARGE), hashes(LARGE, SMALL)
    assert len(one) > 15
    assert two[: len(one)] == one
    assert other[:1] != one[:1]


def test_a_model_behind_a_large_image_is_found_in_the_body() -> None:
    """Its place is a slice of what came, so that it can be replaced there."""
    body = json.dumps({"messages": [{"content": [image(data_url(LARGE))]}], "model": "lora"}).encode()
    for whole in (body, arrived(body)):
        request = read(head(), whole)
        assert request.model_value == b'"lora"'
        assert request.model_value is not None
        assert request.model_value.obj is whole
        assert request.body_bytes == len(body)


def arrived(body: bytes) -> Arriving:
    """Return *body* as it is after coming in pieces."""
    whole = Arriving(body[:1000])
    for at in range(1000, len(body), 7000):
        whole.add(body[at : at + 7000])
    return whole


def test_a_long_text_that_looks_like_base64_stays_text() -> None:
    """A protein is a prompt: its prefixes are shared letter by letter, and it has its length."""
    protein = "".join(random.Random(2).choices("ACDEFGHIKLMNPQRSTVWY", k=40_000))
    request = asked(CHAT, model="m", messages=[{"role": "user", "content": protein}])
    assert text(request) == b'[{"role":"user","content":"' + protein.encode() + b'"}'
    assert asked("/v1/completions", model="m", prompt=protein).prompt_bytes == len(protein) + 1
    assert request.media == ()


def test_long_salts_still_differ() -> None:
    """What is put aside leaves its hash."""
    messages = [{"role": "user", "content": "hi"}]
    one, other = (asked(CHAT, model="m", messages=messages, cache_salt=c * 20_000).seed for c in "ab")
    assert one != other


def test_a_model_of_absurd_length_cannot_be_replaced() -> None:
    """Its name was put aside."""
    assert asked(CHAT, model="m" * 20_000, messages=[{"content": "hi"}]).model_value is None


@pytest.mark.parametrize(
    ("block", "kind", "tokens", "size"),
    [
        (image(URL), "image", 225, 0),
        ({"type": "video_url", "video_url": {"url": URL}}, "video", 2250, 0),
        ({"type": "video_url", "video_url": {"url": data_url(b"x" * 750_000, "video/mp4")}}, "video", 675, 1_000_000),
        ({"type": "audio_url", "audio_url": {"url": URL}}, "audio", 250, 0),
        ({"type": "input_audio", "input_audio": {"data": base64_of(b"x" * 24_000), "format": "pcm"}}, "audio", 75, 32_000),
        ({"type": "file", "file": {"file_data": data_url(b"%PDF" * 2500, "application/pdf")}}, "document", 200, 13_336),
        ({"type": "input_file", "file_url": URL}, "document", 2000, 0),
        ({"type": "input_file", "file_data": data_url(SMALL)}, "image", 1024, len(base64_of(SMALL))),
        ({"type": "image", "source": {"type": "url", "url": URL}}, "image", 225, 0),
        (image("data:image/png;base64,%%%"), "image", 225, 3),
    ],
)  # fmt: skip
def test_each_kind_has_its_estimate(block: dict[str, Any], kind: str, tokens: int, size: int) -> None:
    """Upstream's figures where it has any."""
    (medium,) = chat(SAY, block).media
    assert (medium.kind, medium.tokens, medium.size_bytes) == (kind, tokens, size)


@pytest.mark.parametrize(
    ("headers", "tokens"),
    [
        ({"x_llm_d_video_duration_seconds": "2.5"}, 562),
        ({"x_llm_d_video_resolution": "1024x1024"}, 10240),
        ({"x_llm_d_video_duration_seconds": "9" * 400}, MOST_TOKENS),
        ({"x_llm_d_video_duration_seconds": "-1", "x_llm_d_video_resolution": "large"}, 2250),
    ],
)
def test_headers_tell_of_videos(headers: dict[str, str], tokens: int) -> None:
    """Upstream's; what makes no sense is passed over."""
    block = {"type": "video_url", "video_url": {"url": URL}}
    assert chat(block, **headers).media[0].tokens == tokens


@pytest.mark.parametrize(
    "block",
    [
        SAY,
        {"type": "image_url", "image_url": None},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image_url", "image_url": 7},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "prose"}},
        {"type": "tool_use", "input": {"image_url": URL}},
        {"type": 7, "image_url": URL},
        "a string",
    ],
)
def test_what_is_no_medium_changes_nothing(block: Any) -> None:
    """The prompt is the text as it stands; the engine judges it."""
    request = chat(block)
    assert request.media == ()
    assert text(request) == json.dumps([{"role": "user", "content": [block]}]).encode()[:-1]


def test_too_many_are_refused() -> None:
    """Names what and how many."""
    with pytest.raises(BadRequest, match="more than 512 images, videos, sounds and documents"):
        chat(*[image(URL)] * 513)


junk = st.recursive(
    st.none() | st.integers() | st.sampled_from([URL, data_url(SMALL), "", "data:", "data:image/png,", "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "content",
                    "output",
                    "image_url",
                    "url",
                    "source",
                    "data",
                    "media_type",
                    "input_audio",
                    "file",
                ]
            ),
            inner
            | st.sampled_from(["image_url", "image", "input_image", "input_audio", "video/mp4", "text/x"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(junk, max_size=4))
@settings(deadline=None)
def test_no_content_makes_the_reader_fall_over(messages: list[Any]) -> None:
    """Law: whatever stands in messages, there is a request, or the client's fault."""
    try:
        request = asked(CHAT, model="m", messages=messages)
    except BadRequest:
        assert not messages
        return
    assert all(medium.tokens > 0 for medium in request.media)
