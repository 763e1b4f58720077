"""`header-based-testing-filter` by table."""

from __future__ import annotations

import pytest

from igw.endpoint import Endpoint
from igw.scheduling.filters.header_based_testing import HEADER, HeaderBasedTestingFilter
from tests.scheduling.candidates import facts, plugin, request

THREE = facts([Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.1", 8001), Endpoint.at("fd00::1", 8000)])


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("10.0.0.1", [1, 1, 0]),
        ("10.0.0.1:8001", [0, 1, 0]),
        (" 10.0.0.1:8000 , [fd00::1]:8000", [1, 0, 1]),
        ("fd00::1", [0, 0, 1]),
        ("10.0.0.9", [0, 0, 0]),
        ("", [0, 0, 0]),
        (None, [0, 0, 0]),
    ],
)
def test_who_is_named_stays(written: str | None, kept: list[int]) -> None:
    """By address or by address and port; without the header nobody."""
    headers = {} if written is None else {HEADER: written}
    mask = plugin(HeaderBasedTestingFilter).keep(request(headers), THREE)
    assert mask.astype(int).tolist() == kept
