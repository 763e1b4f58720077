"""Small notations of Envoy's."""

from __future__ import annotations

import pytest
from google.protobuf import duration_pb2, json_format
from hypothesis import given
from hypothesis import strategies as st

from igw.gateway.xds import duration, split_hostport


@given(st.floats(0, 1e6))
def test_a_duration_survives(seconds: float) -> None:
    """To the nanosecond, as protobuf's JSON reads it."""
    read = json_format.Parse(f'"{duration(seconds)}"', duration_pb2.Duration())
    assert read.seconds + read.nanos / 1e9 == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("epp.default.svc:9002", ("epp.default.svc", 9002)),
    ],
)
def test_host_and_port_are_told_apart(written: str, expected: tuple[str, int]) -> None:
    """Brackets go."""
    assert split_hostport(written) == expected


@pytest.mark.parametrize("written", ["", "host", ":80", "host:", "host:0", "host:99999", "host:http"])
def test_what_is_no_address_is_refused(written: str) -> None:
    """With what is expected."""
    with pytest.raises(ValueError, match="is not host:port"):
        split_hostport(written)
