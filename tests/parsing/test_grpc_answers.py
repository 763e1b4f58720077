"""Token counts out of `VllmEngine`'s answers, with its own messages."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.parsing.grpc_answers import KEPT_BYTES, EmbedAnswer, GenerateAnswer
from igw.parsing.grpc_frames import framed
from igw.parsing.usage import Usage

COMPLETE = pb.GenerateComplete(
    output_ids=list(range(1000)), finish_reason="stop", prompt_tokens=7, completion_tokens=10, cached_tokens=4
)
CHUNK = pb.GenerateStreamChunk(token_ids=[1], prompt_tokens=7, completion_tokens=1)


def chunk() -> bytes:
    return framed(pb.GenerateResponse(chunk=CHUNK).SerializeToString())


def complete(**changes: int) -> bytes:
    message = pb.GenerateResponse(complete=COMPLETE)
    for name, value in changes.items():
        setattr(message.complete, name, value)
    return framed(message.SerializeToString())


@given(st.integers(0, 5), st.lists(st.integers(0, 3000), max_size=8))
def test_the_counts_are_those_of_the_last_message_wherever_the_answer_is_cut(
    chunks: int, cuts: list[int]
) -> None:
    """Streamed or not."""
    stream = chunk() * chunks + complete()
    reader = GenerateAnswer()
    at = 0
    for cut in [*sorted(cuts), len(stream)]:
        reader.feed(stream[at:cut])
        at = max(at, min(cut, len(stream)))
    assert Usage(7, 10, 4) == reader.usage()


def test_the_choices_of_an_answer_are_added_up() -> None:
    """Their prompt is one."""
    reader = GenerateAnswer()
    reader.feed(complete() + chunk() + complete(index=1, completion_tokens=5, cached_tokens=6))
    assert Usage(7, 15, 6) == reader.usage()


def test_an_answer_without_an_end_says_nothing() -> None:
    """What chunks say of themselves is not the whole."""
    reader = GenerateAnswer()
    reader.feed(chunk() * 3)
    assert Usage() == reader.usage()


def test_a_compressed_answer_is_read() -> None:
    """As a server may send it to who accepts it."""
    data = gzip.compress(complete()[5:])
    reader = GenerateAnswer()
    reader.feed(b"\1" + len(data).to_bytes(4, "big") + data)
    assert Usage(7, 10, 4) == reader.usage()


def test_counts_are_read_before_megabytes_of_log_probabilities() -> None:
    """Which stand behind them and are not kept."""
    message = pb.GenerateResponse(complete=COMPLETE)
    message.complete.output_logprobs.token_logprobs.extend([0.5] * (KEPT_BYTES // 2))
    stream = framed(message.SerializeToString())
    assert len(stream) > 2 * KEPT_BYTES
    reader = GenerateAnswer()
    for at in range(0, len(stream), 60_000):
        reader.feed(stream[at : at + 60_000])
    assert Usage(7, 10, 4) == reader.usage()


def test_counts_that_are_not_kept_are_not_taken_for_zero() -> None:
    """An answer of a million tokens."""
    message = pb.GenerateResponse(complete=COMPLETE)
    message.complete.output_ids.extend([1 << 31] * (KEPT_BYTES // 4))
    reader = GenerateAnswer()
    reader.feed(framed(message.SerializeToString()))
    assert Usage() == reader.usage()


def test_an_embedding_counts_its_prompt() -> None:
    """Which is all it has."""
    message = pb.EmbedResponse(embedding=[0.1] * 4096, prompt_tokens=9, embedding_dim=4096)
    reader = EmbedAnswer()
    for byte in framed(message.SerializeToString()):
        reader.feed(bytes([byte]))
    assert Usage(prompt_tokens=9) == reader.usage()


@given(st.lists(st.binary(max_size=80)))
def test_any_bytes_can_be_fed(stream: list[bytes]) -> None:
    """What is no message says nothing, or something wrong; it never fails."""
    for reader in (GenerateAnswer(), EmbedAnswer()):
        for piece in stream:
            reader.feed(piece)
        assert isinstance(reader.usage(), Usage)
