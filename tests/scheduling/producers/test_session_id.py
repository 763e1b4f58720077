"""`session-id-producer`: from a header or a cookie."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from igw.facts import SESSION, Facts
from igw.request import Head, Request
from igw.scheduling.producers.session_id import SessionIdProducer

ZERO = np.zeros(1)
FACTS = Facts(ZERO, ZERO, ZERO, ZERO, ZERO)


@pytest.mark.parametrize(
    ("parameters", "headers", "session"),
    [
        ({"headerName": "X-Session-Id"}, {"x-session-id": "s1"}, "s1"),
        ({"headerName": "x-session-id"}, {"cookie": "x-session-id=s1"}, None),
        ({"headerName": "x-session-id"}, {"x-session-id": ""}, None),
        ({"cookieName": "sid"}, {"cookie": "a=b; sid=s2; c=d"}, "s2"),
        ({"cookieName": "sid"}, {"cookie": 'sid="quoted value"'}, "quoted value"),
        ({"cookieName": "sid"}, {"cookie": "a=b"}, None),
        ({"cookieName": "sid"}, {"cookie": "bad name[]=1; =;"}, None),
        ({"cookieName": "sid"}, {}, None),
    ],
)
def test_the_session_is_read(
    parameters: dict[str, str], headers: dict[str, str], session: str | None
) -> None:
    """A request without one has no entry, and a broken cookie is no session."""
    producer = msgspec.convert(parameters, SessionIdProducer)
    found = producer.produce(Request(Head("/", "POST", headers)), FACTS)
    assert found.get(SESSION) == session
    known = FACTS.knowing("mine", found)
    assert known.produced.get("SessionID/mine") == session


@pytest.mark.parametrize("parameters", [{}, {"headerName": "a", "cookieName": "b"}, {"header": "a"}])
def test_exactly_one_place_is_written(parameters: dict[str, Any]) -> None:
    """Upstream's rule."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parameters, SessionIdProducer)
