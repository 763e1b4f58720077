"""`agent-identity` by table."""

from __future__ import annotations

import pytest

from igw.scheduling.processors.agent_identity import AgentIdentity
from tests.scheduling.candidates import plugin, request


@pytest.mark.parametrize(
    ("headers", "identity"),
    [
        ({"x-claude-code-session-id": "c", "session_id": "s"}, "c"),
        ({"x-session-affinity": "a", "session-id": "d"}, "a"),
        ({"session-id": " d ", "session_id": "s"}, "d"),
        ({"session_id": "s"}, "s"),
        ({"x-mine": "m", "x-claude-code-session-id": "c"}, "m"),
        ({"x-mine": " ", "x-claude-code-session-id": "c"}, "c"),
    ],
)
def test_the_first_header_that_is_there_counts(headers: dict[str, str], identity: str) -> None:
    """The file's own before those that agents send."""
    screened = plugin(AgentIdentity, additionalSessionHeaders=["X-Mine"]).process(request(headers))
    assert screened.attributes == {"agent-identity": identity}
    assert screened.fairness_id == identity


def test_a_client_that_gave_a_fairness_id_keeps_it() -> None:
    """The identity is still known."""
    asked = request({"session-id": "s"}, fairness_id="team-a")
    screened = plugin(AgentIdentity).process(asked)
    assert (screened.fairness_id, screened.attributes) == ("team-a", {"agent-identity": "s"})


def test_a_request_without_such_a_header_is_as_it_was() -> None:
    """Not even copied."""
    asked = request({"x-other": "o"})
    assert plugin(AgentIdentity).process(asked) is asked
