"""Requests of `VllmEngine`, with its own messages."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.errors import BadRequest, TooLarge
from igw.parsing.grpc_frames import framed
from igw.parsing.reading import read
from igw.parsing.registry import Apis
from igw.parsing.vllm_grpc import MOST_TOKENS, VLLM_GRPC
from igw.parsing.wire_format import varint
from igw.request import Head, Request

TOKENS = st.lists(st.integers(0, 2**32 - 1), min_size=1)


def request(message: Any, method: str = "Generate") -> Request:
    return read(head(method), framed(message.SerializeToString()))


def head(method: str) -> Head:
    return Head(f"/vllm.grpc.engine.VllmEngine/{method}", "POST", {})


def prompt(of: Request) -> bytes:
    return b"".join(of.prompt)


def tokenized(tokens: list[int], **fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(tokenized=pb.TokenizedInput(input_ids=tokens), **fields)


@given(st.text(min_size=1), st.booleans(), st.none() | st.integers(0, 2**32 - 1))
def test_a_text_is_read_with_what_is_asked_for(text: str, stream: bool, limit: int | None) -> None:
    """The text is a slice of the body; there is no model, so none can be put in its place."""
    params = pb.SamplingParams(temperature=0.0, max_tokens=limit, stop=["."], n=2)
    found = request(pb.GenerateRequest(request_id="r", text=text, stream=stream, sampling_params=params))
    assert text.encode() == prompt(found)
    assert (stream, limit, "", None) == (
        found.stream, found.max_output_tokens, found.model, found.model_value,
    )  # fmt: skip
    assert "vllm.grpc.engine.VllmEngine/Generate" == found.api


@given(TOKENS)
def test_tokens_are_four_bytes_each_so_that_their_number_is_exact(tokens: list[int]) -> None:
    """On the wire they have one to five; and a longer prompt extends a shorter one."""
    for method, message in (
        ("Generate", tokenized(tokens)),
        ("Embed", pb.EmbedRequest(tokenized=pb.TokenizedInput(input_ids=tokens))),
    ):
        found = request(message, method)
        assert b"".join(token.to_bytes(4, "little") for token in tokens) == prompt(found)
        assert len(tokens) == found.prompt_tokens


def test_the_last_of_text_and_tokens_counts() -> None:
    """As protobuf has it for alternatives."""
    text, tokens = pb.GenerateRequest(text="abc"), tokenized([1, 2])
    both = [text.SerializeToString(), tokens.SerializeToString()]
    assert b"abc" == prompt(read(head("Generate"), framed(both[1] + both[0])))
    assert 2 == read(head("Generate"), framed(both[0] + both[1])).prompt_tokens


def test_pictures_have_kind_hash_tokens_and_size() -> None:
    """The client has hashed them, and says where their tokens stand."""
    inputs = pb.MultimodalInputs(
        pixel_values=pb.TensorData(inline=bytes(600), dtype="uint8"),
        mm_hashes=["a" * 64, "b" * 64],
        mm_placeholders=[pb.PlaceholderRange(offset=1, length=5), pb.PlaceholderRange(offset=7, length=2)],
    )
    video = pb.MultimodalInputs(
        pixel_values=pb.TensorData(inline=b"frames"), modality=common_pb2.Modality.VIDEO,
        mm_placeholders=[pb.PlaceholderRange(offset=9, length=1)],
    )  # fmt: skip
    found = request(tokenized([9] * 10, mm_inputs=inputs, extra_mm_inputs=[video]))
    assert [("image", 5, 300), ("image", 2, 300), ("video", 1, 6)] == [
        (medium.kind, medium.tokens, medium.size_bytes) for medium in found.media
    ]
    assert 3 == len({medium.hash for medium in found.media})
    assert 10 == found.prompt_tokens


def test_prompts_are_equal_up_to_the_first_picture_that_differs() -> None:
    """Their tokens are the same placeholders, whatever the pictures show."""

    def shows(*hashes: str) -> bytes:
        places = [pb.PlaceholderRange(offset=10 + 20 * index, length=16) for index in range(2)]
        return prompt(
            request(
                tokenized([9] * 60, mm_inputs=pb.MultimodalInputs(mm_hashes=hashes, mm_placeholders=places))
            )
        )

    one, other = shows("a", "b"), shows("a", "c")
    assert shows("a", "b") == one
    assert one[: 4 * 30] == other[: 4 * 30]
    assert (b"b", b"c") == (one[4 * 30 : 4 * 30 + 1], other[4 * 30 : 4 * 30 + 1])
    assert one[4 * 31 :] == other[4 * 31 :]


def test_tokens_and_pictures_are_hashed_as_over_http() -> None:
    """So that a prefix is shared by clients of both."""
    ids, digest = list(range(100_000, 100_040)), "e" * 64
    inputs = pb.MultimodalInputs(
        mm_hashes=[digest], mm_placeholders=[pb.PlaceholderRange(offset=3, length=20)]
    )
    features = {"mm_hashes": {"image": [digest]}, "mm_placeholders": {"image": [{"offset": 3, "length": 20}]}}
    body = json.dumps({"token_ids": ids, "features": features, "sampling_params": {}}).encode()
    http = read(Head("/inference/v1/generate", "POST", {}), body)
    ours = request(tokenized(ids, mm_inputs=inputs))
    assert (prompt(http), http.media, http.seed) == (prompt(ours), ours.media, ours.seed)


def test_media_by_url_are_told_apart() -> None:
    """What the model server fetches is known by its URL only."""
    refs = [
        pb.MediaRefs(items=[pb.MediaRef(modality=common_pb2.Modality.AUDIO, url=f"https://e.x/{name}")])
        for name in "aab"
    ]
    one, same, other = (request(tokenized([1, 2], media_refs=each)) for each in refs)
    assert ("audio", 250, 252) == (one.media[0].kind, one.media[0].tokens, one.prompt_tokens)
    assert one.media == same.media
    assert prompt(one) == prompt(same) != prompt(other)


@pytest.mark.parametrize(
    ("mm_placeholders", "tokens"), [([(2**32 - 1, 2**32 - 1)], 3), ([(1, 0)], 3), ([], 3), ([(0, 9)], 0)]
)
def test_placeholders_that_lie_outside_the_prompt_do_no_harm(
    mm_placeholders: list[tuple[int, int]], tokens: int
) -> None:
    """The model server will say what it thinks of them."""
    inputs = pb.MultimodalInputs(
        mm_hashes=["a"], mm_placeholders=[pb.PlaceholderRange(offset=o, length=n) for o, n in mm_placeholders]
    )
    assert tokens == request(tokenized([1] * tokens, mm_inputs=inputs)).prompt_tokens


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        ("Generate", framed(b""), "`text` or `tokenized` not found"),
        ("Embed", framed(b""), "`tokenized` not found"),
        ("Generate", framed(b"\x0b"), "not a valid GenerateRequest: field 1 is of unknown wire type 3"),
        ("Embed", framed(b"\x12\x03\x12\x01\x80"), "not a valid EmbedRequest: a list of numbers ends inside"),
        ("Embed", b'{"model": "llama"}', "ends inside a gRPC message"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(method: str, body: bytes, said: str) -> None:
    """Before a model server is bothered."""
    with pytest.raises(BadRequest, match=said):
        read(head(method), body)


def test_a_prompt_has_a_bound() -> None:
    """A byte each is enough to write a token, four to keep it."""
    packed = b"\x01" * (MOST_TOKENS + 1)
    inner = b"\x12" + varint(len(packed)) + packed
    with pytest.raises(TooLarge, match="more than 16777216 tokens"):
        read(head("Embed"), framed(b"\x12" + varint(len(inner)) + inner))


def test_a_compressed_request_is_read() -> None:
    """Whoever compresses need not be known by its headers."""
    data = gzip.compress(pb.GenerateRequest(text="hello", stream=True).SerializeToString())
    found = read(head("Generate"), b"\1" + len(data).to_bytes(4, "big") + data)
    assert (b"hello", True) == (prompt(found), found.stream)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """No crash, no other error."""
    for method in ("Generate", "Embed"):
        for body in (data, framed(data)):
            with contextlib.suppress(BadRequest):
                read(head(method), body)


def test_the_other_methods_pass_unread_even_where_nothing_else_is_in_force() -> None:
    """And whatever else comes there does not."""
    apis = Apis((VLLM_GRPC,))
    found = read(head("HealthCheck"), framed(b""), apis)
    assert ((), "") == (found.prompt, found.model)
    with pytest.raises(BadRequest, match="no parser for /v1/chat/completions"):
        read(Head("/v1/chat/completions", "POST", {}), b"{}", apis)
