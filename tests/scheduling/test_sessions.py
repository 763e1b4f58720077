"""Session affinity, filter and scorer: who is bound to whom, for how long, and what clients get to see."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.facts import Facts
from igw.request import Request
from igw.scheduling import sessions
from igw.scheduling.api import Ranking
from igw.scheduling.filters.session_affinity import SessionAffinityFilter
from igw.scheduling.scorers.session_affinity import SessionAffinityScorer
from tests.scheduling.candidates import endpoints, facts, plugin, request

THREE = endpoints({}, {}, {})
IDS: dict[str, Any] = {"strategy": "session_id"}


class Serving:
    """A plugin in use: what the picker does around a pick."""

    def __init__(self, kind: type[Any] = SessionAffinityFilter, **parameters: Any) -> None:
        self.plugin = plugin(kind, **parameters)
        self.now = 1000.0

    def facts(self, candidates: tuple[Endpoint, ...] = THREE, **produced: str) -> Facts:
        """Return facts as of now; *produced* by fact, `__` for `/`."""
        found = {key.replace("__", "/").replace("_", "-"): value for key, value in produced.items()}
        return facts(candidates, now=self.now, produced=found)

    def pick(
        self,
        asked: Request,
        row: int,
        known: Facts | None = None,
        done: Mapping[str, Ranking | None] | None = None,
    ) -> Delivery:
        """Decide for the candidate *row*, as the picker would."""
        known = known or self.facts()
        delivery: Delivery = self.plugin.deliver(Delivery(), asked, known, [row], done or {})
        self.plugin.decided(Decision(1, asked, (known.endpoints[row],), decided_at=self.now))
        return delivery

    def kept(self, asked: Request, known: Facts | None = None) -> list[int]:
        """Return who the filter keeps."""
        return np.flatnonzero(self.plugin.keep(asked, known or self.facts())).tolist()


def told(headers: Mapping[str, str]) -> Request:
    """Return a request with these headers."""
    return request(headers)


# Tokens -----------------------------------------------------------------------------------------------------------


def test_the_token_of_an_answer_brings_the_next_request_to_the_same_endpoint() -> None:
    """Without a token everybody stays; with it only the endpoint that served."""
    serving = Serving()
    assert serving.kept(told({})) == [0, 1, 2]
    delivery = serving.pick(told({}), 1)
    assert list(delivery.answer_headers) == ["x-session-token"]
    assert serving.kept(told(delivery.answer_headers)) == [1]


def test_a_bound_endpoint_scores_one() -> None:
    """And the others nothing; all score nothing for a session that is not bound."""
    serving = Serving(SessionAffinityScorer)
    delivery = serving.pick(told({}), 2)
    assert serving.plugin.score(told(delivery.answer_headers), serving.facts()).tolist() == [0, 0, 1]
    assert serving.plugin.score(told({}), serving.facts()).tolist() == [0, 0, 0]


def test_a_bound_endpoint_that_is_no_candidate_leaves_all() -> None:
    """It is drained, ejected, or gone."""
    serving = Serving()
    delivery = serving.pick(told({}), 1)
    rest = serving.facts((THREE[0], THREE[2]))
    assert serving.kept(told(delivery.answer_headers), rest) == [0, 1]


@pytest.mark.parametrize("token", ["", "rubbish", "ZGVmYXVsdC9lMg==", "é", "=", "A" * 24])
def test_a_token_that_is_none_of_ours_leaves_all(token: str) -> None:
    """Among them upstream's for the second endpoint: a client cannot choose."""
    assert Serving().kept(told({"x-session-token": token})) == [0, 1, 2]


def test_upstreams_tokens_are_an_option() -> None:
    """base64 of `namespace/name`, with or without its padding."""
    serving = Serving(encodedEndpointHeaderConfig={"plain": True, "header": "X-Where"})
    delivery = serving.pick(told({}), 1)
    assert base64.b64decode(delivery.answer_headers["x-where"]) == b"default/e2"
    assert serving.kept(told({"x-where": "ZGVmYXVsdC9lMg=="})) == [1]
    assert serving.kept(told({"x-where": "ZGVmYXVsdC9lMg"})) == [1]
    for nothing in ("", "é", "Z", "ZGVmYXVsdC9lOQ=="):
        assert serving.kept(told({"x-where": nothing})) == [0, 1, 2]


def test_a_key_makes_tokens_that_hold_in_every_replica() -> None:
    """Without one, each process has its own."""
    one, other = (Serving(encodedEndpointHeaderConfig={"key": "k"}) for _ in range(2))
    assert other.kept(told(one.pick(told({}), 2).answer_headers)) == [2]
    assert Serving().kept(told(Serving().pick(told({}), 2).answer_headers)) == [0, 1, 2]


def test_the_session_may_be_bound_to_another_profiles_pick() -> None:
    """A profile that was not run, or left nobody, gives no token."""
    serving = Serving(profileName="prefill")
    ranking = Ranking([2], {})
    delivery = serving.pick(told({}), 0, done={"decode": Ranking([0], {}), "prefill": ranking})
    assert serving.kept(told(delivery.answer_headers)) == [2]
    assert not serving.pick(told({}), 0, done={"prefill": None}).answer_headers
    assert not serving.pick(told({}), 0, done={"decode": ranking}).answer_headers


# Ids --------------------------------------------------------------------------------------------------------------


def test_a_session_stays_where_it_was_first_served() -> None:
    """Its id is in a header; other sessions are not bound by it."""
    serving = Serving(**IDS)
    asked = told({"x-session-id": "s1"})
    assert serving.kept(asked) == [0, 1, 2]
    assert not serving.pick(asked, 1).answer_headers
    assert serving.kept(told({"x-session-id": "s1"})) == [1]
    assert serving.kept(told({"x-session-id": "s2"})) == [0, 1, 2]
    assert serving.kept(told({})) == [0, 1, 2]


def test_a_session_moves_only_when_its_endpoint_is_no_candidate() -> None:
    """A pick elsewhere, by a scorer that weighs more, leaves it bound; one without its endpoint binds it anew."""
    serving = Serving(SessionAffinityScorer, **IDS)
    asked = told({"x-session-id": "s1"})
    serving.pick(asked, 1)
    serving.pick(asked, 0)
    assert serving.plugin.score(asked, serving.facts()).tolist() == [0, 1, 0]
    serving.pick(asked, 1, serving.facts((THREE[0], THREE[2])))
    assert serving.plugin.score(asked, serving.facts()).tolist() == [0, 0, 1]


def test_a_session_that_was_idle_for_too_long_is_not_bound() -> None:
    """Looked at when it is read, not when somebody sweeps; every use starts the time anew."""
    serving = Serving(**IDS, sessionIdConfig={"evictionTtlSeconds": 60})
    asked = told({"x-session-id": "s1"})
    serving.pick(asked, 1)
    serving.now += 60
    assert serving.kept(asked) == [1]
    serving.pick(asked, 1)
    serving.now += 60
    assert serving.kept(asked) == [1]
    serving.now += 0.1
    assert serving.kept(asked) == [0, 1, 2]


def test_the_first_source_that_says_something_counts() -> None:
    """Headers, attributes of header processors, and what producers found."""
    sources = [
        {"header": "X-Chat"},
        {"attribute": "agent-identity"},
        {"attribute": "SessionID"},
        {"attribute": "SessionID", "producer": "cookies"},
    ]
    serving = Serving(**IDS, sessionIdConfig={"sources": sources})
    serving.pick(request({"x-chat": "a"}, attributes={"agent-identity": "b"}), 0)
    assert serving.kept(told({"x-chat": "a"})) == [0]
    assert serving.kept(request({"x-chat": " "}, attributes={"agent-identity": "a"})) == [0]
    by_default = facts(THREE, now=serving.now, produced={"SessionID/session-id-producer": "a"})
    assert serving.kept(told({}), by_default) == [0]
    by_name = facts(THREE, now=serving.now, produced={"SessionID/cookies": "a"})
    assert serving.kept(told({}), by_name) == [0]
    assert serving.kept(request({}, attributes={"agent-identity": "b"})) == [0, 1, 2]


def test_a_pick_that_was_not_decided_binds_nobody() -> None:
    """As when an admitter of another part turned the request away, and the next request was decided."""
    serving = Serving(**IDS)
    serving.plugin.deliver(Delivery(), told({"x-session-id": "s1"}), serving.facts(), [1], {})
    serving.plugin.decided(Decision(1, told({"x-session-id": "s2"}), (THREE[0],), decided_at=serving.now))
    assert serving.kept(told({"x-session-id": "s1"})) == [0, 1, 2]


def test_sessions_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one unused for longest goes first, and what is too old goes as others come."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    serving = Serving(**IDS, sessionIdConfig={"evictionTtlSeconds": 60})
    for name in ("a", "b", "c", "a", "d"):
        serving.pick(told({"x-session-id": name}), 1)
    assert [serving.kept(told({"x-session-id": name})) for name in "abcd"] == [[1], [0, 1, 2], [1], [1]]
    serving.now += 61
    for name in "ef":
        serving.pick(told({"x-session-id": name}), 1)
    assert len(serving.plugin._bindings._bound) == 2


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"strategy": "cookie"}, "encoded_endpoint_header"),
        (IDS | {"encodedEndpointHeaderConfig": {}}, "does not belong to strategy session_id"),
        ({"sessionIdConfig": {}}, "does not belong to strategy encoded_endpoint_header"),
        (IDS | {"sessionIdConfig": {"sources": []}}, "sources"),
        (IDS | {"sessionIdConfig": {"sources": [{}]}}, "exactly one of header and attribute"),
        (IDS | {"sessionIdConfig": {"evictionTtlSeconds": 0}}, "evictionTtlSeconds"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, Any], problem: str) -> None:
    """By filter and scorer alike."""
    for kind in (SessionAffinityFilter, SessionAffinityScorer):
        with pytest.raises(ConfigError, match=problem):
            plugin(kind, **parameters)
