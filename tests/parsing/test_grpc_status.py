"""gRPC's statuses in HTTP's numbers and the other way round."""

from __future__ import annotations

import grpc
import pytest

from igw.parsing.grpc_status import as_http, of_http


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"), (412, "FAILED_PRECONDITION"), (413, "RESOURCE_EXHAUSTED"),
        (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (418, "UNKNOWN"),
    ],
)  # fmt: skip
def test_a_refusal_has_a_code_that_says_whether_to_try_again(status: int, code: str) -> None:
    """UNAVAILABLE is what clients try again at once: not for a queue that is full."""
    assert grpc.StatusCode[code].value[0] == of_http(status)


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_code_is_a_status(code: grpc.StatusCode) -> None:
    """An error is an error, whose fault it was included."""
    status = as_http(str(code.value[0]))
    assert status is not None
    assert (code is grpc.StatusCode.OK) == (status == 200)
    assert status == 200 or 400 <= status < 600


def test_what_is_no_code_is_none_and_what_nobody_knows_is_an_error() -> None:
    """Envoy writes `-` where there is none."""
    assert (None, None, 500) == (as_http("-"), as_http(""), as_http("123"))
