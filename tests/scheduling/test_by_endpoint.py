"""What depends on endpoints alone is worked out once for as long as they are the same."""

from __future__ import annotations

import pytest

from igw.endpoint import Endpoint
from igw.scheduling.by_endpoint import ByEndpoint
from tests.scheduling.candidates import endpoints


def test_values_are_worked_out_once_per_snapshot() -> None:
    """Another tuple is another snapshot; what is handed out is shared, so nobody may write to it."""
    asked: list[str] = []

    def size(endpoint: Endpoint) -> int:
        asked.append(endpoint.name)
        return len(endpoint.labels)

    sizes, two = ByEndpoint(size, int), endpoints({"a": "b"}, {})
    assert [sizes(two).tolist() for _ in range(3)] == [[1, 0]] * 3
    assert asked == ["e1", "e2"]
    assert sizes(two[:1]).tolist() == [1]
    assert asked == ["e1", "e2", "e1"]
    with pytest.raises(ValueError, match="read-only"):
        sizes(two)[0] = 5
