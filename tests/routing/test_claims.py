"""A request that asks for a place: who has room, where it goes then, and what it says of itself while it waits."""

from __future__ import annotations

import msgspec
import pytest

from igw.endpoint import Pool
from igw.errors import NotCached
from igw.flow.api import Placed, Refusal, Turn
from igw.request import Head
from igw.routing.claims import Claim
from igw.routing.objectives import Terms
from igw.scheduling import builtin
from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from tests.routing.test_router import ENDPOINTS, Routing, chat

HOSTS = [endpoint.hostport for endpoint in ENDPOINTS]


def routing(endpoints: int = 2, *, work: bool = True) -> Routing:
    """Return a router with some endpoints; *work*: with the default policy, which prices work."""
    made = Routing(p=ENDPOINTS[:endpoints])
    if work:
        made.router.scheduler = builtin.default()
    return made


def claim(made: Routing, text: str = "hello " * 400, **fields: object) -> Claim:
    """Return the claim of one request."""
    columns = made.pools.columns_of("default/p")
    assert columns is not None
    request = msgspec.structs.replace(chat(text), **fields)
    return made.router.claim(made.router.asked(request), columns)


def report(made: Routing, *waiting: float) -> None:
    """Let the endpoints say how many requests they have waiting."""
    columns = made.pools.columns_of("default/p")
    assert columns is not None
    for host, count in zip(HOSTS, waiting, strict=False):
        columns.report(host, count, 4.0, 0.5)


def test_who_is_placed_has_its_load_reserved() -> None:
    """Under the number that flow control knows."""
    made = routing()
    asking = claim(made)
    placed = asking.place(Turn())
    assert isinstance(placed, Placed)
    assert placed.decision.id == made.router.item(asking).id
    assert placed.uncached_tokens == placed.decision.uncached_tokens > 0
    assert placed.output_tokens == 200.0
    assert sum(made.inflight("p")) == 1


def test_servers_with_requests_that_wait_take_nobody() -> None:
    """Unless they have nothing of ours; one that has room is enough."""
    made = routing()
    for _ in HOSTS:
        assert isinstance(claim(made, str(_)).place(Turn()), Placed)
    report(made, 5.0, 5.0)
    assert claim(made).place(Turn()) is Refusal.FULL
    assert not claim(made).has_room(Turn())
    report(made, 5.0, 0.0)
    assert claim(made).has_room(Turn())
    assert isinstance(claim(made).place(Turn()), Placed)


def test_nobody_is_placed_above_the_ceiling_of_its_band() -> None:
    """How full they are is the share without room."""
    made = routing()
    for _ in HOSTS:
        claim(made, str(_)).place(Turn())
    report(made, 5.0, 0.0)
    assert claim(made).place(Turn(ceiling=0.5)) is Refusal.FULL
    assert isinstance(claim(made).place(Turn(ceiling=0.6)), Placed)


def test_endpoints_that_are_kept_for_others_are_passed_over() -> None:
    """At most half of them, the first that were named."""
    made = routing()
    for _ in range(4):
        placed = claim(made).place(Turn(closed=tuple(HOSTS[:2])))
        assert isinstance(placed, Placed)
        assert HOSTS[0] != placed.decision.endpoint.hostport


def test_an_endpoint_without_memory_does_not_fit() -> None:
    """A smaller request may."""
    made = routing(1)
    promises = next(iter(made.pools.promises()))
    assert isinstance(claim(made, "first").place(Turn()), Placed)
    promises.scraped(made.prefix.slot_of(HOSTS[0]) or 0, 0.0, 0.9, 10_000.0, made.now + 1.0)
    assert claim(made, "long " * 8000).place(Turn()) is Refusal.UNFIT
    assert isinstance(claim(made, "short").place(Turn()), Placed)


def test_a_detector_decides_where_work_is_not_priced() -> None:
    """By its candidates; without one there is always room."""
    made = routing(work=False)
    report(made, 0.0, 0.0)
    assert all(isinstance(claim(made).place(Turn()), Placed) for _ in range(4))
    made.router.detector = ConcurrencyDetector(max_concurrency=3)
    assert isinstance(claim(made).place(Turn()), Placed)
    assert isinstance(claim(made).place(Turn()), Placed)
    assert claim(made).place(Turn()) is Refusal.FULL
    made.router.detector = None
    assert claim(made).cheapest() is None


def test_what_a_claim_says_of_itself() -> None:
    """Its own work where that is least, and where it would go; less once its prompt is cached."""
    made = routing()
    asking = claim(made)
    before = asking.work_seconds()
    assert (asking.matched_tokens(), asking.cheapest() in HOSTS) == (0.0, True)
    placed = claim(made).place(Turn())
    assert isinstance(placed, Placed)
    assert asking.work_seconds() < before
    assert asking.matched_tokens() > 0


def test_what_must_be_cached_and_is_not_does_not_wait() -> None:
    """However full it is."""
    made = routing(1)
    claim(made, "first").place(Turn())
    report(made, 5.0)
    with pytest.raises(NotCached):
        claim(made, "other", head=Head("/v1/chat/completions", "POST", {"prefer": "if-available"})).place(
            Turn()
        )


def test_an_item_says_whose_turn_it_takes() -> None:
    """By headers and objective; the lane is the gateway's subset."""
    made = routing()
    made.router.terms = {"default/p": {"gold": Terms(2.0, 5.0)}}
    made.router.priorities = {"default/p": {"gold": 7}}
    headers = {"x-llm-d-inference-objective": "gold", "x-llm-d-inference-fairness-id": "team"}
    asking = claim(made, head=Head("/v1/chat/completions", "POST", headers, subset=(HOSTS[0],)))
    item = made.router.item(asking)
    assert (item.flow, item.priority, item.weight, item.ttl_seconds) == ("team", 7, 2.0, 5.0)
    assert (item.lane, item.received_at) == ((HOSTS[0],), 100.0)
    own = claim(made, head=Head("/v1/chat/completions", "POST", {**headers, "x-igw-queue-ttl-ms": "1500"}))
    assert made.router.item(own).ttl_seconds == 1.5
    plain = made.router.item(claim(made))
    assert (plain.flow, plain.lane, plain.ttl_seconds) == ("default-flow", None, None)


def test_an_empty_pool_is_full() -> None:
    """And one that is idle is not."""
    made = routing()
    columns = made.pools.columns_of("default/p")
    assert columns is not None
    assert made.router.saturation(columns) == 0.0
    made.pools.adopt({"default/p": Pool("p", "default", ())})
    columns = made.pools.columns_of("default/p")
    assert columns is not None
    assert made.router.saturation(columns) == 1.0
