"""A prompt whose beginning is in a tier that endpoints share: what the pick counts on, promises and learns."""

from __future__ import annotations

import pytest

from igw.decision import Decision
from igw.outcomes.learning import Learning
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.scheduling import instances
from igw.scheduling.loading import TierSpeed
from igw.scheduling.pickers.near_tie import NearTiePicker
from igw.scheduling.producers.p2p_source import HEADER, P2pSourceProducer
from igw.scheduling.producers.shared_cache import SharedCacheProducer
from igw.scheduling.profile import Profile, Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.marginal_work import MarginalWorkScorer
from tests.routing.test_router import ENDPOINTS, Routing, chat

LONG = "tell me of it " * 4000
FAST = TierSpeed(100e9, "1ms")
SLOW = TierSpeed(1e6, "1ms")


def routing(*plugins: object, endpoints: int = 2) -> Routing:
    """Return a router with the default policy and *plugins*."""
    made = Routing(p=ENDPOINTS[:endpoints])
    names = {plugin.type: plugin for plugin in plugins}  # type: ignore[attr-defined]
    made.router.use(
        Scheduler(
            {"default": Profile((Weighted("work", MarginalWorkScorer(), 1.0),), NearTiePicker())},
            deliverers=tuple(plugin for plugin in plugins if hasattr(plugin, "deliver")),  # type: ignore[misc]
            plugins=instances.of(names, (tuple(names),)),
        )
    )
    made.ledger.listen(Learning(made.pools.promises, lambda: made.now))
    return made


def end(routing: Routing, decision: Decision, seconds: float = 2.0, cached: int | None = None) -> None:
    """Answer a request whole, its first token after so long."""
    usage = Usage(decision.request.prompt_tokens, 100, cached)
    outcome = Outcome(End.COMPLETE, 200, ttft_seconds=seconds, duration_seconds=seconds + 1, usage=usage)
    routing.ledger.close(decision.id, outcome)


async def test_what_one_endpoint_computed_the_other_fetches() -> None:
    """Once it is known to be there: the endpoint that holds it is busy, and to fetch it elsewhere takes less than to wait."""
    servers = routing(SharedCacheProducer(tier=FAST))
    first = await servers.router.route(chat(LONG))
    assert first.fetch is None
    end(servers, first)
    again = await servers.router.route(chat(LONG))
    assert (again.endpoint, again.fetch) == (first.endpoint, None)
    other = await servers.router.route(chat(LONG + "and more of it " * 3000))
    while other.endpoint == first.endpoint:
        other = await servers.router.route(chat(LONG + "and more of it " * 3000))
    assert other.fetch is not None
    assert other.fetch.tier == "remote"
    assert other.fetch.tokens == pytest.approx(len(LONG) / 4, rel=0.1)
    assert other.costs["fetch"][1 - ENDPOINTS.index(first.endpoint)] == other.fetch.seconds
    assert other.uncached_tokens == other.request.prompt_tokens - other.fetch.tokens


async def test_what_takes_longer_to_fetch_is_computed() -> None:
    """At a megabyte per second."""
    servers = routing(SharedCacheProducer(tier=SLOW), endpoints=1)
    end(servers, await servers.router.route(chat(LONG)))
    servers.prefix.forget(servers.prefix.slot(ENDPOINTS[0].hostport))  # it restarted, say
    decision = await servers.router.route(chat(LONG))
    assert decision.fetch is None
    assert decision.costs["fetch"].tolist() == [0.0]


async def test_only_what_is_computed_is_promised() -> None:
    """The backlog of who fetches is the rest of the prompt."""
    servers = routing(SharedCacheProducer(tier=FAST), endpoints=1)
    end(servers, await servers.router.route(chat(LONG)))
    servers.prefix.forget(servers.prefix.slot(ENDPOINTS[0].hostport))  # it restarted, say
    decision = await servers.router.route(chat(LONG))
    assert decision.fetch is not None
    (promises,) = servers.pools.promises()
    (place,) = promises.statistics()
    rates = promises.model.rates
    whole = rates.per_token * decision.request.prompt_tokens
    assert 0 < place.backlog_seconds < whole / 10


async def test_the_time_of_a_fetch_teaches_nothing_of_prefill() -> None:
    """A slow tier must not make the endpoint look slow."""
    servers = routing(SharedCacheProducer(tier=TierSpeed(5e9, "1ms")), endpoints=1)
    end(servers, await servers.router.route(chat(LONG)))
    (promises,) = servers.pools.promises()
    servers.prefix.forget(servers.prefix.slot(ENDPOINTS[0].hostport))
    decision = await servers.router.route(chat(LONG))
    assert decision.fetch is not None
    seen: list[float] = []
    learn = promises.model.learn
    promises.model.learn = lambda each: (seen.append(each.e2e_seconds), learn(each))[1]  # type: ignore[method-assign, func-returns-value]
    end(servers, decision, seconds=decision.fetch.seconds + 0.25, cached=decision.fetch.tokens)
    assert seen == [pytest.approx(1.25)]


async def test_the_peer_that_holds_the_prompt_is_named_to_who_pulls_it() -> None:
    """And not to the peer itself."""
    servers = routing(P2pSourceProducer(peer=FAST))
    first = await servers.router.route(chat(LONG))
    assert HEADER not in first.delivery.headers
    decisions = [await servers.router.route(chat(LONG)) for _ in range(6)]
    pulled = [decision for decision in decisions if decision.fetch is not None]
    assert pulled
    assert {decision.fetch.peer for decision in pulled if decision.fetch} == {
        decision.delivery.headers[HEADER] for decision in pulled
    }
    assert all(decision.delivery.headers[HEADER] != decision.endpoint.hostport for decision in pulled)


async def test_a_request_without_such_producers_has_no_term_for_it() -> None:
    """Nothing is computed for it either."""
    servers = routing()
    decision = await servers.router.route(chat(LONG))
    assert "fetch" not in decision.costs
    assert decision.fetch is None
