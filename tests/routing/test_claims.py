"""A request that asks for a place: who has room, where it goes then, and what it says of itself while it waits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.endpoint import SEATS_LABEL, Pool
from igw.errors import NotCached
from igw.flow.api import Placed, Refusal, Turn
from igw.request import Generation, Head
from igw.routing.claims import Claim
from igw.routing.objectives import Terms
from igw.scheduling import builtin
from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from igw.scheduling.profile import Filtering
from tests.routing.test_router import ENDPOINTS, Routing, chat

HOSTS = [endpoint.hostport for endpoint in ENDPOINTS]


def routing(endpoints: int = 2, *, work: bool = True) -> Routing:
    """Return a router with some endpoints; *work*: with the default policy, which prices work."""
    made = Routing(p=ENDPOINTS[:endpoints])
    if work:
        made.router.use(builtin.default())
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
    assert claim(made).room(Turn()) == 0.0
    report(made, 5.0, 0.0)
    assert claim(made).room(Turn()) > 0.0
    assert isinstance(claim(made).place(Turn()), Placed)


def test_nobody_is_placed_above_the_ceiling_of_its_band() -> None:
    """How full they are is the share without room."""
    made = routing()
    for _ in HOSTS:
        claim(made, str(_)).place(Turn())
    report(made, 5.0, 0.0)
    assert claim(made).place(Turn(ceiling=0.5)) is Refusal.FULL
    assert isinstance(claim(made).place(Turn(ceiling=0.6)), Placed)


def test_room_that_is_kept_lowers_the_ceiling() -> None:
    """By what so many requests would take, and by its share at most."""
    made = routing(work=False)
    made.router.detector = ConcurrencyDetector(max_concurrency=3)
    report(made, 0.0, 0.0)
    assert all(isinstance(claim(made).place(Turn(kept=3)), Placed) for _ in range(3))
    assert claim(made).place(Turn(kept=3)) is Refusal.FULL
    assert isinstance(claim(made).place(Turn(kept=3, kept_share=0.4)), Placed)
    assert claim(made).place(Turn(kept=3, kept_share=0.4)) is Refusal.FULL
    assert isinstance(claim(made).place(Turn(kept=1)), Placed)
    assert claim(made).place(Turn(kept=1)) is Refusal.FULL


def test_endpoints_that_are_kept_for_others_are_passed_over() -> None:
    """At most half of them, the first that were named."""
    made = routing()
    for _ in range(4):
        placed = claim(made).place(Turn(closed=tuple(HOSTS[:2])))
        assert isinstance(placed, Placed)
        assert HOSTS[0] != placed.decision.endpoint.hostport


def test_only_a_longer_cached_prompt_is_worth_a_wait() -> None:
    """Else it goes where there is memory for it, even if that costs more: what is cheap elsewhere would be so for hundreds in one look."""
    made = routing()
    promises = next(iter(made.pools.promises()))
    full, open_ = (made.prefix.slot_of(host) for host in HOSTS[:2])
    assert full is not None
    assert open_ is not None
    promises.send(1, full, 10, 10, made.now)
    for number in range(2, 32):
        promises.send(number, open_, 10, 10, made.now)
    for slot, usage in ((full, 0.979), (open_, 0.2)):
        promises.scraped(slot, 0.0, usage, 20_000.0, made.now + 1.0)
    asking = claim(made)
    view = asking._look(priced=True)
    assert view.facts.cost[0] < view.facts.cost[1]
    placed = asking.place(Turn())
    assert isinstance(placed, Placed)
    assert placed.decision.endpoint.hostport == HOSTS[1]
    again = claim(made, "another " * 400)
    made.prefix.record(full, again._look().facts.blocks)
    placed = again.place(Turn())
    assert isinstance(placed, Placed)
    assert placed.decision.endpoint.hostport == HOSTS[0]


@pytest.mark.parametrize("generation", [None, Generation("image", 30.0)])
def test_seats_that_are_said_hold_the_first_burst(generation: Generation | None) -> None:
    """Before anything could be found out; of pictures too, whose backlog says nothing of how many are made at once."""
    made = routing()
    labelled = [msgspec.structs.replace(each, labels={SEATS_LABEL: "2"}) for each in ENDPOINTS[:2]]
    made.pools.adopt({"default/p": Pool("p", "default", tuple(labelled))})
    asked = [claim(made, str(number), generation=generation).place(Turn()) for number in range(5)]
    assert [isinstance(each, Placed) for each in asked] == [True] * 4 + [False]
    assert asked[4] is Refusal.FULL


def test_an_endpoint_without_memory_does_not_fit() -> None:
    """A smaller request may."""
    made = routing(1)
    promises = next(iter(made.pools.promises()))
    assert isinstance(claim(made, "first").place(Turn()), Placed)
    promises.scraped(made.prefix.slot_of(HOSTS[0]) or 0, 0.0, 0.9, 10_000.0, made.now + 1.0)
    assert claim(made, "long " * 8000).place(Turn()) is Refusal.UNFIT
    assert isinstance(claim(made, "short").place(Turn()), Placed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4000)), max_size=6),
    st.floats(0.2, 1.0),
    st.tuples(st.integers(0, 8), st.integers(1, 4000)),
    st.booleans(),
)
def test_who_needs_more_than_there_is_is_refused(
    before: list[tuple[int, int]], usage: float, asks: tuple[int, int], closed: bool
) -> None:
    """So it need not be asked: whatever is cached, full or kept for others."""
    made, turn = routing(2), Turn(closed=(HOSTS[0],) if closed else ())
    for kind, words in before:
        claim(made, f"{kind} " * words).place(Turn())
    promises = next(iter(made.pools.promises()))
    for host in HOSTS[:2]:
        promises.scraped(made.prefix.slot_of(host) or 0, 0.0, usage, 4_000.0, made.now + 1.0)
    asking = claim(made, f"{asks[0]} " * asks[1])
    room, needs = asking.room(turn), asking.weigh().needs
    placed = asking.place(turn)
    assert needs <= room or isinstance(placed, Refusal)
    assert (room <= 0.0) == (placed is Refusal.FULL)


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


def test_who_has_room_only_where_filters_say_no_waits() -> None:
    """One server has a place by its limit and makes requests wait, the other one the other way round: nobody is turned away for that."""
    limit = ConcurrencyDetector(max_concurrency=4)
    made = routing()
    default = builtin.default()
    (profile,) = default.profiles.values()
    filtered = msgspec.structs.replace(profile, filters=(Filtering("limit", limit),))
    made.router.use(msgspec.structs.replace(default, profiles={"default": filtered}))
    made.router.detector = limit
    report(made, 0.0, 0.0)
    for number in range(7):
        assert isinstance(claim(made, str(number)).place(Turn()), Placed)
    three, four = made.inflight("p").index(3), made.inflight("p").index(4)
    report(made, *(9.0 if index == three else 0.0 for index in (0, 1)))
    assert claim(made).room(Turn()) > 0.0
    assert claim(made).place(Turn()) is Refusal.UNFIT
    assert made.inflight("p")[four] == 4
    report(made, 0.0, 0.0)
    assert isinstance(claim(made).place(Turn()), Placed)


def test_what_a_claim_says_of_itself() -> None:
    """Its own work where that is least, and where it would go; less once its prompt is cached."""
    made = routing()
    asking = claim(made)
    before = asking.weigh()
    assert (asking.matched_tokens(), asking.cheapest() in HOSTS) == (0.0, True)
    placed = claim(made).place(Turn())
    assert isinstance(placed, Placed)
    after = asking.weigh()
    assert (after.work_seconds < before.work_seconds, after.needs < before.needs) == (True, True)
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
