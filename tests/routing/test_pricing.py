"""Work other than text on its way through a router: promised inside the pick, learned at the end, priced for the next one."""

from __future__ import annotations

import heapq
import random

import msgspec
import numpy as np
import pytest

from igw.decision import Decision
from igw.facts import Adapters
from igw.outcomes.learning import Learning
from igw.outcomes.outcome import End, Outcome
from igw.request import Generation, Head, Request
from igw.scheduling import builtin
from tests.routing.test_router import ENDPOINTS, Routing, chat

HEAD = Head("/v1/images/edits", "POST", {})


def picture(units: float = 30.0, kind: str = "image") -> Request:
    """Return a request for a picture of so much work."""
    return Request(HEAD, model="flux", generation=Generation(kind, units))


def routing() -> Routing:
    """Return a router with the default policy, which learns."""
    made = Routing(p=ENDPOINTS)
    made.router.use(builtin.default())
    made.ledger.listen(Learning(made.pools.promises, lambda: made.now))
    return made


def ended(routing: Routing, decision: Decision, seconds: float) -> None:
    """End a request that took so long."""
    routing.ledger.close(decision.id, Outcome(End.COMPLETE, 200, duration_seconds=seconds))


async def test_pictures_that_come_together_go_apart() -> None:
    """As many as there are servers, each to its own; the next one waits least where the first is about to end."""
    servers = routing()
    decisions = []
    for _ in ENDPOINTS:
        decisions.append(await servers.router.route(picture()))
        servers.now += 1.0
    assert len({decision.endpoint.hostport for decision in decisions}) == len(ENDPOINTS)
    assert (await servers.router.route(picture())).endpoint == decisions[0].endpoint


async def test_a_large_picture_keeps_small_ones_away() -> None:
    """Two small ones elsewhere are less than one large one."""
    servers = routing()
    servers.pools.adopt(
        {"default/p": msgspec.structs.replace(next(iter(servers.pools.all())).pool, endpoints=ENDPOINTS[:2])}
    )
    large = await servers.router.route(picture(300.0))
    for _ in range(3):
        assert (await servers.router.route(picture(30.0))).endpoint != large.endpoint


async def test_terms_say_what_is_ahead_and_what_it_takes() -> None:
    """In seconds, beside those of text; a text has neither. A picture has no first token to expect."""
    servers = routing()
    await servers.router.route(picture())
    decision = await servers.router.route(picture())
    assert sorted(decision.costs["generate_backlog"].tolist()) == [0.0, 0.0, 0.0, pytest.approx(6.0)]
    assert decision.costs["generate"].tolist() == [pytest.approx(6.0)] * 4
    assert decision.costs["decode"].tolist() == [0.0] * 4
    assert decision.expected_ttft_seconds == 0.0
    text = await servers.router.route(chat("hello"))
    assert not {"generate", "generate_backlog"} & set(text.costs)
    assert text.expected_ttft_seconds > 0


async def test_an_answer_that_is_no_text_teaches_nothing_of_text() -> None:
    """A minute for a picture is no minute for its prompt."""
    servers = routing()
    (promises,) = servers.pools.promises()
    rates = promises.model.rates
    decision = await servers.router.route(picture())
    servers.now += 60.0
    ended(servers, decision, 60.0)
    assert promises.model.rates == rates
    assert promises.model.observations == 0
    assert promises.generating.seconds_per_unit("image") == pytest.approx(2.0)


@pytest.mark.parametrize("outcome", [Outcome(End.ABORTED), Outcome(End.COMPLETE, 500, duration_seconds=1.0)])
async def test_what_broke_off_is_no_longer_promised_and_teaches_nothing(outcome: Outcome) -> None:
    """Its server is free."""
    servers = routing()
    decision = await servers.router.route(picture())
    servers.ledger.close(decision.id, outcome)
    (promises,) = servers.pools.promises()
    assert not dict(promises.generating.kinds())
    assert [each.generate_seconds for each in promises.statistics()] == [0.0] * 4


async def test_a_server_of_half_the_speed_gets_about_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four servers near their limit, with the whole policy around it: ties, promises, learning."""
    monkeypatch.setattr(random, "random", random.Random(3).random)
    servers, draw = routing(), random.Random(5)
    pace = dict(zip((each.hostport for each in ENDPOINTS), (0.1, 0.1, 0.1, 0.2), strict=True))
    free, work = dict.fromkeys(pace, 0.0), dict.fromkeys(pace, 0.0)
    ends: list[tuple[float, int, Decision]] = []
    for number in range(900):
        servers.now += draw.expovariate(0.9 * 35.0 / 30.0)
        while ends and ends[0][0] <= servers.now:
            at, _, decision = heapq.heappop(ends)
            ended(servers, decision, at - decision.decided_at)
        units = draw.choice([7.0, 14.0, 30.0, 39.0, 60.0])
        decision = await servers.router.route(picture(units))
        where = decision.endpoint.hostport
        free[where] = max(free[where], servers.now) + units * pace[where]
        heapq.heappush(ends, (free[where], number, decision))
        if number > 200:
            work[where] += units
    shares = [each / sum(work.values()) for each in work.values()]
    assert shares[3] < 0.17
    assert min(shares[:3]) > 0.24


def adapters(running: str = "", most: int = 2, model: str = "base") -> Adapters:
    """Return what an engine says of its adapters."""
    return Adapters(frozenset(running.split()), frozenset(), most, model)


async def test_an_adapter_costs_its_loading_where_it_does_not_run() -> None:
    """And as long as an answer where the batch has no place for another; a request to the base model costs nothing of it."""
    servers = routing()
    (columns,) = servers.pools.all()
    columns.adapters = np.array(
        [adapters("sql"), adapters("law"), adapters("law med"), *[adapters()] * (len(ENDPOINTS) - 3)],
        dtype=object,
    )
    decision = await servers.router.route(chat("a" * 400, model="sql"))
    answer = servers.pools.promises_of(columns).model.decode_seconds
    assert decision.endpoint == ENDPOINTS[0]
    assert decision.costs["adapter"][:3].tolist() == [0.0, 0.3, 0.3 + answer]
    assert "adapter" not in (await servers.router.route(chat("a" * 400, model="base"))).costs


async def test_an_adapter_is_not_loaded_twice_where_its_prompts_are_cached() -> None:
    """Engines say only which adapters run: what is cached for one tells that it was there."""
    servers = routing()
    (columns,) = servers.pools.all()
    columns.adapters = np.array([adapters() for _ in ENDPOINTS], dtype=object)
    first = await servers.router.route(chat("a" * 4000, model="sql"))
    ended(servers, first, 1.0)
    second = await servers.router.route(chat("a" * 4000, model="sql"))
    assert second.endpoint == first.endpoint
    here = second.candidates.index(first.endpoint)
    assert second.costs["adapter"][here] == 0.0
    assert sorted(second.costs["adapter"].tolist()) == [0.0, *[0.3] * (len(ENDPOINTS) - 1)]
