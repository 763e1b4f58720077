"""The way of a request: which pool, who may serve, where it goes, and what the next one sees of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from igw.config.gateway_api import ObjectMeta
from igw.config.models import (
    InferenceModelRewrite,
    Match,
    ModelMatch,
    PoolRef,
    RewriteRule,
    RewriteSpec,
    Target,
)
from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint, Pool
from igw.errors import BadRequest, NoEndpoints, NotCached, Rejected
from igw.facts import Facts
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.prefix.hashing import tokens_at
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools
from igw.routing.rewriting import Rewrites
from igw.routing.router import Router
from igw.scheduling import builtin, instances
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.profile import Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.active_request import ActiveRequestScorer
from igw.scheduling.scorers.kv_cache import KvCacheUtilizationScorer
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer
from igw.scheduling.scorers.queue import QueueScorer

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{last}", 8000) for last in range(1, 5))
SCHEDULER = Scheduler.of(
    (
        Weighted("queue-scorer", QueueScorer(), 2.0),
        Weighted("kv-cache-utilization-scorer", KvCacheUtilizationScorer(), 2.0),
        Weighted("prefix-cache-scorer", PrefixCacheScorer(), 3.0),
        Weighted("active-request-scorer", ActiveRequestScorer(), 2.0),
    ),
    MaxScorePicker(max_num_of_endpoints=2),
)
"""Upstream's default weights."""
PLACES = {endpoint.hostport for endpoint in ENDPOINTS}


class Routing:
    """A router with its pools, index and ledger; the clock is a number."""

    def __init__(self, **pools: tuple[Endpoint, ...]) -> None:
        self.now = 100.0
        self.prefix, self.ledger = PrefixIndex(), Ledger(60)
        self.pools = Pools(self.prefix, self.ledger)
        self.pools.adopt(
            {f"default/{name}": Pool(name, "default", members) for name, members in pools.items()}
        )
        self.router = Router(self.pools, self.prefix, self.ledger, SCHEDULER, lambda: self.now)

    async def goes_to(self, request: Request) -> str:
        """Return where a request goes."""
        return (await self.router.route(request)).endpoint.hostport

    def inflight(self, pool: str) -> list[float]:
        """Return the in-flight column of a pool."""
        columns = self.pools.columns_of(f"default/{pool}")
        assert columns is not None
        return [float(count) for count in columns.inflight]


def chat(text: str = "", pool: str = "", subset: tuple[str, ...] | None = None, model: str = "m") -> Request:
    """Return a chat request with *text* as its only message."""
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": text}]})
    return read(Head("/v1/chat/completions", "POST", {}, pool=pool, subset=subset), body)


async def test_a_decision_has_what_explains_and_settles_it() -> None:
    """The pick and a retry, the candidates with their scores, the prompt's blocks, the time."""
    routing = Routing(p=ENDPOINTS)
    decision = await routing.router.route(chat("x" * 1000))
    assert decision.candidates == ENDPOINTS
    assert len(decision.endpoints) == len({endpoint.hostport for endpoint in decision.endpoints}) == 2
    assert {name: len(column) for name, column in decision.scores.items()} == dict.fromkeys(
        ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "active-request-scorer"), 4
    )
    assert len(decision.blocks) == 4
    assert decision.matched_tokens == 0
    assert decision.decided_at == 100.0
    columns = routing.pools.columns_of("")
    assert columns is not None
    assert columns.picks == 1


async def test_costs_are_worked_out_only_for_whom_they_matter() -> None:
    """The default asks for them: terms in seconds for each candidate, and when the first token is expected."""
    routing = Routing(p=ENDPOINTS)
    plain = await routing.router.route(chat("x" * 4000))
    assert not plain.costs
    assert plain.expected_ttft_seconds == 0
    routing.router.use(builtin.default())
    priced = await routing.router.route(chat("y" * 4000))
    assert {"backlog", "prefill", "queue", "memory", "decode"} < set(priced.costs)
    assert all(len(column) == 4 for column in priced.costs.values())
    tokens = priced.request.prompt_tokens
    assert priced.expected_ttft_seconds == pytest.approx(0.03 + 1e-4 * tokens + 1e-9 * tokens**2)
    assert len(priced.endpoints) == 2


async def test_work_that_was_promised_is_seen_by_the_next_request_until_it_ends() -> None:
    """A long prompt keeps others away; when its answer is there its endpoint is worth going back to."""
    routing = Routing(p=ENDPOINTS[:2])
    routing.router.use(builtin.default())
    long = await routing.router.route(chat("x" * 200_000))
    for number in range(3):
        short = await routing.router.route(chat(f"{number}" * 400))
        assert short.endpoint != long.endpoint
        routing.ledger.close(short.id, Outcome(End.COMPLETE, 200))
    (promises,) = routing.pools.promises()
    promises.end(long.id, routing.now)
    followed = await routing.router.route(chat("x" * 200_000 + "y"))
    assert followed.endpoint == long.endpoint
    assert followed.matched_tokens > 40_000


async def test_the_ledger_keeps_what_settles_a_decision_and_not_what_explains_it() -> None:
    """Columns of a large pool would live as long as every answer."""
    routing = Routing(p=ENDPOINTS)
    routing.router.use(builtin.default())
    kept: list[Decision] = []
    routing.ledger.listen(lambda decision, _outcome: kept.append(decision))
    told = await routing.router.route(chat("x" * 1000))
    routing.ledger.close(told.id, Outcome(End.COMPLETE, 200))
    assert told.scores
    assert told.costs
    assert told.candidates
    assert kept == [msgspec.structs.replace(told, candidates=(), scores={}, costs={})]


async def test_a_decision_does_not_hold_the_body() -> None:
    """It lives as long as the answer; its size stays known."""
    request = chat("x" * 1000)
    decision = await Routing(p=ENDPOINTS).router.route(request)
    assert decision.request.prompt == ()
    assert decision.request.prompt_bytes == request.prompt_bytes > 1000
    assert len(request.prompt) == 1


async def test_requests_that_come_together_go_apart() -> None:
    """The first is reserved before the second is picked, however old the metrics are."""
    routing = Routing(p=ENDPOINTS)
    decisions = await asyncio.gather(*[routing.router.route(chat()) for _ in range(4)])
    assert {decision.endpoint.hostport for decision in decisions} == PLACES
    assert routing.inflight("p") == [1, 1, 1, 1]
    assert len({decision.id for decision in decisions}) == 4


async def test_the_first_of_equals_is_not_always_the_same() -> None:
    """Several pickers with the same beliefs must not agree on one endpoint."""
    random.seed(4)
    firsts = Counter([await Routing(p=ENDPOINTS).goes_to(chat()) for _ in range(80)])
    assert len(firsts) == 4


async def test_a_conversation_stays_where_its_prefix_is() -> None:
    """Even before its first answer has ended, and while others wait nowhere."""
    routing = Routing(p=ENDPOINTS)
    first = await routing.router.route(chat("x" * 5000))
    second = await routing.router.route(chat("x" * 5000 + "y"))
    assert second.endpoint == first.endpoint
    assert second.matched_tokens == tokens_at(len(first.blocks)) == tokens_at(19)
    assert second.matched_tokens == 19 * 64
    routing.ledger.close(first.id, Outcome(End.COMPLETE, 200))
    routing.ledger.close(second.id, Outcome(End.COMPLETE, 200))
    assert routing.inflight("p") == [0, 0, 0, 0]


async def test_a_long_prompt_matches_by_tokens_not_by_blocks() -> None:
    """Blocks grow with depth: a match of half the bytes is half a score, though it is most of the blocks."""
    routing = Routing(p=ENDPOINTS)
    half = await routing.router.route(chat("x" * 32_700))
    routing.ledger.close(half.id, Outcome(End.COMPLETE, 200))
    whole = await routing.router.route(chat("x" * 65_400))
    assert whole.matched_tokens == tokens_at(64 + 15) == 31 * 256
    assert whole.endpoint == half.endpoint
    assert len(whole.blocks) == 64 + 47
    assert max(whole.scores["prefix-cache-scorer"]) == pytest.approx(3 * 31 / 63)


async def test_metrics_of_the_engines_count() -> None:
    """A full queue is avoided, in the whole pool and in a part of it, where rows are others."""
    routing = Routing(p=ENDPOINTS)
    columns = routing.pools.columns_of("")
    assert columns is not None
    for row, waiting in enumerate((50, 40, 0, 50)):
        columns.report(ENDPOINTS[row].hostport, waiting, 1, 0.1)
    assert await routing.goes_to(chat()) == ENDPOINTS[2].hostport
    assert await routing.goes_to(chat(subset=("10.0.0.1", "10.0.0.2", "10.0.0.4"))) == ENDPOINTS[1].hostport


async def test_a_subset_sees_its_own_prefixes() -> None:
    """Facts are cut to the candidates: each has its own row, slot and match."""
    routing = Routing(p=ENDPOINTS)
    text = "x" * 5000
    only = await routing.router.route(chat(text, subset=("10.0.0.3",)))
    assert only.endpoints == (ENDPOINTS[2],)
    again = await routing.router.route(chat(text, subset=("10.0.0.2:8000", "10.0.0.3:8000")))
    assert again.candidates == (ENDPOINTS[1], ENDPOINTS[2])
    assert again.endpoint == ENDPOINTS[2]
    assert again.matched_tokens == tokens_at(len(again.blocks))
    assert again.scores["prefix-cache-scorer"].tolist() == [0, 3]


async def test_a_failing_endpoint_is_avoided_and_its_reservation_still_ends() -> None:
    """Until all fail."""
    routing = Routing(p=ENDPOINTS[:2])
    columns = routing.pools.columns_of("")
    assert columns is not None
    columns.fail(ENDPOINTS[0].hostport)
    assert {await routing.goes_to(chat()) for _ in range(5)} == {ENDPOINTS[1].hostport}
    columns.fail(ENDPOINTS[1].hostport)
    assert await routing.goes_to(chat()) == ENDPOINTS[0].hostport


async def test_several_pools_are_told_apart_by_name() -> None:
    """Each with its own load."""
    routing = Routing(p=ENDPOINTS[:2], q=ENDPOINTS[2:3])
    assert await routing.goes_to(chat(pool="default/q")) == ENDPOINTS[2].hostport
    assert await routing.goes_to(chat(pool="default/p")) in {e.hostport for e in ENDPOINTS[:2]}
    assert routing.inflight("q") == [1]
    assert sum(routing.inflight("p")) == 1


@pytest.mark.parametrize(
    ("pools", "pool", "said"),
    [
        ({"p": ENDPOINTS}, "default/other", "no pool 'default/other' here"),
        ({"p": ENDPOINTS, "q": ENDPOINTS}, "", "the gateway named no pool and there is not exactly one"),
        ({}, "", "the gateway named no pool"),
        ({"p": ()}, "default/p", "pool default/p has no endpoint"),
    ],
)
async def test_a_request_that_can_go_nowhere_is_rejected(
    pools: dict[str, tuple[Endpoint, ...]], pool: str, said: str
) -> None:
    """With a sentence that says why; nothing is reserved."""
    routing = Routing(**pools)
    with pytest.raises(NoEndpoints, match=said) as caught:
        await routing.router.route(chat(pool=pool))
    assert isinstance(caught.value, Rejected)
    assert routing.ledger.statistics().open == 0


async def test_a_request_that_was_not_read_is_balanced() -> None:
    """No model, no prompt: load alone decides."""
    routing = Routing(p=ENDPOINTS)
    request = read(Head("/v1/models", "GET", {}), b"")
    decisions = await asyncio.gather(*[routing.router.route(request) for _ in range(4)])
    assert {decision.endpoint.hostport for decision in decisions} == PLACES
    assert all(decision.blocks == [] for decision in decisions)
    assert routing.prefix.statistics().entries == 0


async def test_the_scheduler_may_be_swapped_between_two_requests() -> None:
    """A new configuration counts from the next request on."""
    routing = Routing(p=ENDPOINTS)
    await routing.router.route(chat())
    routing.router.use(Scheduler.of((), MaxScorePicker(max_num_of_endpoints=9)))
    decision = await routing.router.route(chat())
    assert {endpoint.hostport for endpoint in decision.endpoints} == PLACES
    assert decision.scores == {}


async def test_what_header_processors_find_out_goes_with_the_request() -> None:
    """The decision, and everybody who is told of it, has the request as they left it."""

    class Naming:
        type = "naming"

        def process(self, request: Request, /) -> Request:
            return msgspec.structs.replace(request, fairness_id=request.head.headers["x-agent"])

    routing = Routing(p=ENDPOINTS)
    plugins = instances.of({"naming": Naming()})
    routing.router.use(msgspec.structs.replace(SCHEDULER, plugins=plugins))
    decision = await routing.router.route(Request(Head("/", "POST", {"x-agent": "a7"})))
    assert decision.request.fairness_id == "a7"


async def test_what_plugins_want_said_is_in_the_decision() -> None:
    """Headers for the server, headers for the client."""

    class Saying:
        type = "saying"

        def deliver(
            self, delivery: Delivery, _request: Request, facts: Facts, picked: Sequence[int], _done: object, /
        ) -> Delivery:
            return msgspec.structs.replace(delivery, headers={"x-row": facts.endpoints[picked[0]].hostport})

    routing = Routing(p=ENDPOINTS)
    routing.router.use(msgspec.structs.replace(SCHEDULER, deliverers=(Saying(),)))
    decision = await routing.router.route(chat())
    assert decision.delivery.headers == {"x-row": decision.endpoint.hostport}


def _rewrites(target: str, model: str = "m") -> Rewrites:
    """Return a rewrite of *model*, of every model if it is empty."""
    matches = (Match(model=ModelMatch(value=model)),) if model else ()
    rule = RewriteRule(matches=matches, targets=(Target(model_rewrite=target),))
    return Rewrites(
        [
            InferenceModelRewrite(
                api_version="", kind="", metadata=ObjectMeta(name="r"),
                spec=RewriteSpec(pool_ref=PoolRef(name="p"), rules=(rule,)),
            )
        ]
    )  # fmt: skip


async def test_a_request_is_for_the_model_that_its_pools_rewrites_say() -> None:
    """Also where the gateway names no pool; adapters have their own prefixes, and another pool its own names."""
    routing = Routing(p=ENDPOINTS[:2], q=ENDPOINTS[2:])
    routing.router.rewrites = {"default/p": _rewrites("adapter")}
    text = "x" * 4000
    there = await routing.router.route(chat(text, pool="default/p"))
    elsewhere = await routing.router.route(chat(text, pool="default/q"))
    assert (there.request.model, there.request.target_model) == ("m", "adapter")
    assert there.request.rewritten_by == ("default/r", 0)
    assert (elsewhere.request.served_model, elsewhere.request.rewritten_by) == ("m", None)
    assert set(there.blocks).isdisjoint(elsewhere.blocks)
    only = Routing(p=ENDPOINTS)
    only.router.rewrites = {"default/p": _rewrites("adapter")}
    assert (await only.router.route(chat())).request.served_model == "adapter"


async def test_a_priority_is_one_of_the_pools_objectives() -> None:
    """The same name means nothing, or something else, in another pool."""
    routing = Routing(p=ENDPOINTS[:2], q=ENDPOINTS[2:])
    routing.router.priorities = {"default/p": {"batch": -1}, "default/q": {"batch": 7}}
    for pool, priority in (("default/p", -1), ("default/q", 7)):
        head = Head("/", "POST", {"x-llm-d-inference-objective": "batch"}, pool=pool)
        assert (await routing.router.route(Request(head))).request.priority == priority


async def test_a_request_that_wants_its_prompt_cached_is_refused_elsewhere() -> None:
    """412, and nothing is reserved; once the prompt is believed to be there it is served."""
    routing = Routing(p=ENDPOINTS)
    text = "x" * 4000

    def conditional() -> Request:
        asked = chat(text)
        return msgspec.structs.replace(asked, head=Head("/", "POST", {"prefer": "if-available"}))

    with pytest.raises(NotCached) as caught:
        await routing.router.route(conditional())
    assert caught.value.status == 412
    assert routing.ledger.statistics().open == 0
    first = await routing.router.route(chat(text))
    assert (await routing.router.route(conditional())).endpoint == first.endpoint


async def test_a_request_that_lacks_its_model_needs_a_rewrite_that_says_it() -> None:
    """400 without one; an API that needs none, and a body that nobody read, lack nothing."""
    routing = Routing(p=ENDPOINTS)
    lacking = msgspec.structs.replace(chat(), model="", seed=b"\0", model_value=memoryview(b""))
    with pytest.raises(BadRequest, match="model not found in request body"):
        await routing.router.route(lacking)
    assert routing.ledger.statistics().open == 0
    await routing.router.route(msgspec.structs.replace(lacking, model_value=None))
    routing.router.rewrites = {"default/p": _rewrites("adapter", "")}
    filled = (await routing.router.route(lacking)).request
    assert (filled.model, filled.target_model, filled.seed) == ("", "adapter", b"adapter\0")
