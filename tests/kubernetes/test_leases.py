"""There is one leader at most, whatever clocks, replicas and requests do; and there is one again when that is over."""

from __future__ import annotations

import heapq
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.kubernetes.leases import Election, Lease, Timing, body, read

TIMING = Timing()


class Server:
    """One Lease, written by whoever has seen its last version."""

    def __init__(self) -> None:
        self.lease = Lease()
        self.writes = 0

    def write(self, lease: Lease) -> Lease | None:
        """Return the Lease as it is kept; None: a conflict."""
        if lease.version != self.lease.version:
            return None
        self.writes += 1
        kept = body(lease, "name", "llm")
        kept["metadata"]["resourceVersion"] = str(self.writes)
        self.lease = read(kept)
        return self.lease


class Replica:
    """An election with a clock of its own, which is set and runs differently."""

    def __init__(self, identity: str, rate: float, offset: float) -> None:
        self.election = Election(identity, lambda: 0.5, TIMING)
        self._rate, self._offset = rate, offset

    def clock(self, time: float) -> float:
        return self._offset + self._rate * time

    def wall(self, time: float) -> str:
        return f"written-at-{self.clock(time)}"

    def leads(self, time: float) -> bool:
        return self.election.leads(self.clock(time))


def turn(replica: Replica, server: Server, time: float, back: float = 0.0) -> float:
    """Make one attempt whose answers take *back* seconds; return when it is over."""
    election = replica.election
    if election.must_read:
        election.saw(server.lease, replica.clock(time + back))
        time += back
    asked = replica.clock(time)
    if (bid := election.bid(asked, replica.wall(time))) is None:
        return time
    kept = server.write(bid)
    if kept is not None and back < TIMING.renew_seconds:
        election.won(kept, asked)
    return time + back


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([0.0, 0.5, 2.0, 9.0, 14.0, 16.0, 18.0]),
        st.sampled_from([0.0, 0.0, 1.0, 11.0]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=20,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.tuples(*[st.floats(0.85, 1.2)] * 3), st.tuples(*[st.floats(-1e6, 1e6)] * 3))
def test_there_is_one_leader_at_most(
    steps: list[tuple[int, float, float, bool]],
    rates: tuple[float, float, float],
    offsets: tuple[float, float, float],
) -> None:
    """With clocks that run apart by up to 1.2/0.85, less than a Lease lasts longer than it may go without being renewed."""
    server = Server()
    replicas = [Replica(f"r{n}", rates[n], offsets[n]) for n in range(3)]
    time = 1.0
    for who, pause, back, lost in steps:
        time += pause
        election = replicas[who].election
        if lost:  # the write arrives, its answer does not
            election.saw(server.lease, replicas[who].clock(time))
            if (bid := election.bid(replicas[who].clock(time), "")) is not None:
                server.write(bid)
        else:
            time = turn(replicas[who], server, time, back)
        for later in (0.0, 1.0, 4.0, 9.0):
            assert sum(each.leads(time + later) for each in replicas) <= 1


@given(st.permutations(range(3)), st.floats(0.0, 1e9))
def test_somebody_leads_when_all_try(order: list[int], begin: float) -> None:
    """At once if there was nobody; after the Lease of one who died."""
    server, replicas = Server(), [Replica(f"r{n}", 1.0, begin) for n in range(3)]
    for who in order:
        turn(replicas[who], server, 0.0)
    assert [each.leads(0.0) for each in replicas] == [n == order[0] for n in range(3)]
    survivors = [replicas[n] for n in order[1:]]
    queue = [(2.0, n) for n in range(len(survivors))]
    time = 0.0
    while not any(each.leads(time) for each in survivors):
        time, who = heapq.heappop(queue)
        turn(survivors[who], server, time)
        heapq.heappush(queue, (time + survivors[who].election.wait_seconds(survivors[who].clock(time)), who))
        assert time < 25.0
    assert time >= TIMING.lease_seconds


def test_a_leader_renews_without_reading() -> None:
    """One request each time. What is written says since when it leads."""
    server, replica = Server(), Replica("a", 1.0, 0.0)
    turn(replica, server, 0.0)
    assert not replica.election.must_read
    turn(replica, server, 2.0)
    assert server.lease == Lease("a", 15, "written-at-0.0", "written-at-2.0", 0, "2")
    assert replica.election.wait_seconds(2.0) == TIMING.retry_seconds


def test_who_cannot_renew_stops_in_time() -> None:
    """After 10 s, while the Lease lasts 15."""
    server, replica = Server(), Replica("a", 1.0, 0.0)
    turn(replica, server, 0.0)
    assert replica.leads(9.9)
    assert not replica.leads(10.0)


def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    """And counts one more transition."""
    server, first, second = Server(), Replica("a", 1.0, 0.0), Replica("b", 1.0, 500.0)
    turn(first, server, 0.0)
    turn(second, server, 1.0)
    assert not second.leads(1.0)
    released = first.election.release(2.0, "now")
    assert released is not None
    server.write(released)
    assert not first.leads(2.0)
    turn(second, server, 3.0)
    assert second.leads(3.0)
    assert (server.lease.holder, server.lease.transitions) == ("b", 1)
    assert first.election.release(4.0, "now") is None


def test_a_lease_that_somebody_else_has_is_no_more_ours() -> None:
    """Also if it could be renewed a moment ago: an administrator may have given it away."""
    server, first = Server(), Replica("a", 1.0, 0.0)
    turn(first, server, 0.0)
    server.lease = Lease("b", 15, "", "", 1, "99")
    turn(first, server, 2.0)  # a conflict
    turn(first, server, 4.0)
    assert not first.leads(4.0)
    assert first.election.holder == "b"


@pytest.mark.parametrize("spec", [None, {}, {"holderIdentity": None, "leaseDurationSeconds": None}])
def test_an_empty_lease_is_nobodys(spec: dict[str, Any] | None) -> None:
    """As `kubectl create` would make it."""
    lease = read({"metadata": {"resourceVersion": "5"}, "spec": spec})
    assert lease == Lease(version="5")
    election = Election("a", lambda: 0.0)
    election.saw(lease, 0.0)
    assert election.bid(0.0, "now") == Lease("a", 15, "now", "now", 1, "5")
