"""Protobuf's wire format, against protobuf itself."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.parsing.wire_format import MOST_FIELDS, Malformed, Message, fields, uint32s, varint

UINT32S = st.lists(st.integers(0, 2**32 - 1))


@given(st.text(), UINT32S)
def test_fields_of_a_real_message_are_found(text: str, numbers: list[int]) -> None:
    """Strings as their bytes, lists as they are packed."""
    message = pb.TokenizedInput(original_text=text, input_ids=numbers).SerializeToString()
    found = dict(fields(memoryview(message)))
    assert text.encode() == bytes(found.get(1, b""))  # type: ignore[arg-type]
    assert numbers == uint32s([found[2]] if numbers else [], 1 << 20).tolist()


def test_numbers_of_fixed_size_are_passed_over() -> None:
    """Nobody asks for them; what follows them is found."""
    message = pb.SamplingParams(temperature=0.5, top_p=0.1, max_tokens=300)
    info = pb.GetServerInfoResponse(last_receive_timestamp=1.5, server_type="x")
    assert [(8, 300)] == list(fields(memoryview(message.SerializeToString())))
    assert [(5, b"x")] == list(fields(memoryview(info.SerializeToString())))


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    """At most ten bytes."""
    assert [(1, number)] == list(fields(memoryview(b"\x08" + varint(number))))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_malformed_and_what_protobuf_reads_is_read_alike(data: bytes) -> None:
    """But for groups, which no message of today has. Protobuf wants strings in UTF-8 beside."""
    try:
        found = list(fields(memoryview(data)))
    except Malformed:
        found = None
    assert len(list(_cut(data))) >= len(found or ())
    try:
        theirs = pb.TokenizedInput.FromString(data)
    except DecodeError:
        return
    if found is not None:
        ours = [value for number, value in found if number == 2]
        try:
            numbers = uint32s(ours, 1 << 20).tolist()
        except Malformed:
            return
        assert list(theirs.input_ids) == numbers


def _cut(data: bytes) -> list[object]:
    found: list[object] = []
    try:
        found.extend(fields(memoryview(data), cut=True))
    except Malformed:
        return [None] * len(data)
    return found


@given(st.lists(UINT32S, max_size=4), st.data())
def test_a_list_may_stand_in_parts_packed_or_not(lists: list[list[int]], data: st.DataObject) -> None:
    """Protobuf lets writers choose."""
    values: list[int | memoryview] = []
    for numbers in lists:
        if data.draw(st.booleans()):
            values += numbers
        else:
            values.append(memoryview(b"".join(map(varint, numbers))))
    assert [number for numbers in lists for number in numbers] == uint32s(values, 1 << 20).tolist()


def test_a_long_list_is_unpacked_piece_by_piece() -> None:
    """Numbers that lie across the border of two pieces too."""
    numbers = np.arange(400_000, dtype=np.uint32) * 7
    packed = pb.TokenizedInput(input_ids=numbers.tolist()).SerializeToString()
    (value,) = (value for _, value in fields(memoryview(packed)))
    assert np.array_equal(numbers, uint32s([value], 1 << 20))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00\x00", "field number 0"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0a\x05abc", "field 1 has 5 bytes, and 3 are left"),
        (b"\x0d\x00", "field 1 is cut short"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "no number ends"),
        (b"\x08\x80", "no number ends"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(data: bytes, said: str) -> None:
    """Where it can be seen."""
    with pytest.raises(Malformed, match=said):
        list(fields(memoryview(data)))


def test_a_list_that_ends_inside_a_number_is_malformed() -> None:
    """As is a number of more than ten bytes."""
    for packed in (b"\x01\x80", b"\x80" * 10 + b"\x01"):
        with pytest.raises(Malformed):
            uint32s([memoryview(packed)], 10)


def test_lists_and_messages_have_bounds() -> None:
    """A request of two-byte fields must not take seconds to be read, nor one of one-byte tokens gigabytes."""
    with pytest.raises(OverflowError):
        uint32s([memoryview(b"\x01" * 11)], 10)
    Message(memoryview(b"\x08\x01" * MOST_FIELDS))
    with pytest.raises(Malformed, match="more than"):
        Message(memoryview(b"\x08\x01" * (MOST_FIELDS + 1)))
    inner = b"\x08\x01" * (MOST_FIELDS // 2)
    outer = Message(memoryview((b"\x0a" + varint(len(inner)) + inner) * 2))
    with pytest.raises(Malformed, match="more than"):
        list(outer.each(1))


def test_occurrences_of_a_message_are_merged_and_the_last_of_alternatives_counts() -> None:
    """As protobuf has it."""
    parts = [pb.GenerateRequest(sampling_params=pb.SamplingParams(max_tokens=1)),
             pb.GenerateRequest(text="a"),
             pb.GenerateRequest(tokenized=pb.TokenizedInput(input_ids=[1])),
             pb.GenerateRequest(sampling_params=pb.SamplingParams(n=3))]  # fmt: skip
    message = Message(memoryview(b"".join(part.SerializeToString() for part in parts)), oneof=(2, 3))
    params = message.inner(4)
    assert (1, 3) == (params.number(8), params.number(15))
    assert ([], 1) == (message.parts(3), len(message.parts(2)))
