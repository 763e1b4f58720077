"""Flow control, told as transcripts: upstream's integration scenarios, and each fault of upstream's that is not to be repeated."""

from __future__ import annotations

import pytest

from igw.flow.band import BandSettings
from igw.flow.fairness.dlpm import Dlpm
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.fairness.round_robin import RoundRobin
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.limits.keep_headroom import KeepHeadroom
from igw.flow.limits.priority_holdback import PriorityHoldback
from igw.flow.limits.soft_reflective import SoftReflectiveCeiling
from igw.flow.limits.static import StaticLimit
from igw.flow.ordering.edf import Edf
from igw.flow.ordering.fcfs import Fcfs
from igw.flow.ordering.shortest_work import ShortestWork
from igw.flow.ordering.slo_deadline import SloDeadline
from igw.flow.revocation import RevocationSettings
from igw.flow.settings import Settings
from tests.flow.scenes import play, trace

PLAIN = BandSettings(fairness=GlobalStrict(), ordering=Fcfs())


def strict(**fields: object) -> Settings:
    """Return upstream's default policies, with *fields* of a band."""
    return Settings(band=BandSettings(**{"fairness": GlobalStrict(), "ordering": Fcfs(), **fields}))  # type: ignore[arg-type]


SCENES = {
    "the gate closes at the limit and opens again on completion": (
        strict(),
        """
        pool a=2
        0 arrive r1
        0 arrive r2
        1 arrive r3
        2 end r1
        """,
        """
        0 r1 -> a
        0 r2 -> a
        2 r3 -> a after 1
        """,
    ),
    "the earliest wanted first token goes first": (
        strict(ordering=SloDeadline()),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        1 arrive r3 ttft=9
        1 arrive r4 ttft=3
        2 end r1
        3 end r4
        4 end r3
        """,
        """
        0 r1 -> a
        2 r4 -> a after 1
        3 r3 -> a after 2
        4 r2 -> a after 4
        """,
    ),
    "the earliest end of patience goes first": (
        strict(ordering=Edf()),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 ttl=0
        1 arrive r3
        1 arrive r4 ttl=5
        2 end r1
        3 end r4
        4 end r3
        """,
        """
        0 r1 -> a
        2 r4 -> a after 1
        3 r3 -> a after 2
        4 r2 -> a after 4
        """,
    ),
    "high priorities go before low ones": (
        strict(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 priority=-1
        0 arrive r3 priority=1
        0 arrive r4
        0 arrive r5 priority=1
        1 end r1
        2 end r3
        3 end r5
        4 end r4
        """,
        """
        0 r1 -> a
        1 r3 -> a after 1
        2 r5 -> a after 2
        3 r4 -> a after 3
        4 r2 -> a after 4
        """,
    ),
    "flows alternate": (
        strict(fairness=RoundRobin()),
        """
        pool a=1
        0 arrive r1 flow=x
        0 arrive r2 flow=x
        0 arrive r3 flow=x
        0 arrive r4 flow=y
        0 arrive r5 flow=y
        1 end r1
        2 end r2
        3 end r4
        4 end r3
        """,
        """
        0 r1 -> a
        1 r2 -> a after 1
        2 r4 -> a after 2
        3 r3 -> a after 3
        4 r5 -> a after 4
        """,
    ),
    "the gate is at half the saturation": (
        Settings(band=PLAIN, limit=StaticLimit(0.5)),
        """
        pool a=4
        0 arrive r1
        0 arrive r2
        0 arrive r3
        1 end r1
        """,
        """
        0 r1 -> a
        0 r2 -> a
        1 r3 -> a after 1
        """,
    ),
    "bands hold as many as they may, and not one more": (
        Settings(band=BandSettings(max_requests=1, fairness=GlobalStrict(), ordering=Fcfs()), max_requests=2),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        0 arrive r3
        0 arrive r4 priority=1
        0 arrive r5 priority=2
        """,
        """
        0 r1 -> a
        0 r3 RejectedCapacity, back in 20
        0 r5 RejectedCapacity, back in 10
        """,
    ),
    "bytes count, to the last one": (
        Settings(band=BandSettings(max_bytes=10, fairness=GlobalStrict(), ordering=Fcfs()), max_bytes=15),
        """
        pool a=1
        0 arrive r1 bytes=99
        0 arrive r2 bytes=10
        0 arrive r3 bytes=1
        0 arrive r4 bytes=6 priority=1
        0 arrive r5 bytes=5 priority=1
        """,
        """
        0 r1 -> a
        0 r3 RejectedCapacity, back in 20
        0 r4 RejectedCapacity, back in 10
        """,
    ),
    "an empty pool that can hold no more has no endpoints": (
        strict(max_requests=1),
        """
        pool
        0 arrive r1
        0 arrive r2
        """,
        """
        0 r2 RejectedNoEndpoints
        """,
    ),
    "requests in flight that matter less are given up": (
        Settings(band=PLAIN, revocation=RevocationSettings(grace_seconds=0.5)),
        """
        pool a=3
        0 arrive r1 priority=-1
        1 arrive r2 priority=-2
        2 arrive r3
        3 arrive r4 priority=1
        4 changed
        5 changed              # one decision at a time: r2 has not ended yet
        6 end r2
        """,
        """
        0 r1 -> a
        1 r2 -> a
        2 r3 -> a
        4 r2 given up
        6 r4 -> a after 3
        """,
    ),
    "those that may not be given up are not": (
        Settings(band=PLAIN, revocation=RevocationSettings()),
        """
        pool a=2
        0 arrive r1 priority=-1
        0 arrive r2
        0 first r1             # its client has begun to read
        1 arrive r3 priority=1
        1 changed
        """,
        """
        0 r1 -> a
        0 r2 -> a
        """,
    ),
    "unless that is wanted": (
        Settings(band=PLAIN, revocation=RevocationSettings(after_first_token=True)),
        """
        pool a=2
        0 arrive r1 priority=-1
        0 arrive r2
        0 first r1
        1 arrive r3 priority=1
        1 changed
        """,
        """
        0 r1 -> a
        0 r2 -> a
        1 r1 given up
        """,
    ),
    "another victim is sought when the first does not end, or was not enough": (
        Settings(band=PLAIN, revocation=RevocationSettings(most_at_once=1)),
        """
        pool a=2
        0 arrive r1 priority=-1
        0 arrive r2 priority=-1
        1 arrive r3
        1 arrive r4
        1 changed
        11 expire
        12 end r2
        12 changed             # the effect may not show yet
        12.5 expire
        """,
        """
        0 r1 -> a
        0 r2 -> a
        1 r1 given up
        11 r1 given up
        12 r3 -> a after 11
        """,
    ),
    "budgets end waiting to the moment": (
        Settings(band=PLAIN, request_ttl_seconds=10),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        1 arrive r3 ttl=2
        1 arrive r4 until=4
        3 expire
        4 expire
        9.999 expire
        10 expire
        11 arrive r5 until=11
        """,
        """
        0 r1 -> a
        3 r3 EvictedTTL after 2
        4 r4 EvictedTTL after 3
        10 r2 EvictedTTL after 10
        11 r5 EvictedTTL after 0
        """,
    ),
    "a client that leaves frees its room at once": (
        strict(max_requests=1),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        1 cancel r2
        1 arrive r3
        2 cancel r2            # not there any more
        3 end r1
        """,
        """
        0 r1 -> a
        1 r2 EvictedContextCancelled after 1
        3 r3 -> a after 2
        """,
    ),
    "stopping answers everybody": (
        strict(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        0 arrive r3
        1 stop
        2 arrive r4
        3 end r1
        """,
        """
        0 r1 -> a
        1 r2 EvictedOther after 1
        1 r3 EvictedOther after 1
        2 r4 RejectedOther
        """,
    ),
    "an endpoint that comes back begins at nothing, and late ends do no harm": (
        strict(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        1 pool
        2 end r1
        3 pool a=1
        4 end r1
        5 end r2
        6 arrive r3
        """,
        """
        0 r1 -> a
        3 r2 -> a after 3
        6 r3 -> a
        """,
    ),
    "an empty pool has a budget of its own": (
        Settings(band=PLAIN, request_ttl_seconds=10, no_endpoint_ttl_seconds=4),
        """
        pool
        0 arrive r1
        1 arrive r2
        4 expire
        5 expire
        """,
        """
        4 r1 EvictedNoEndpoints after 4
        5 r2 EvictedNoEndpoints after 4
        """,
    ),
    "a pool that becomes empty gives a new budget, all in all not beyond the longer one": (
        Settings(band=PLAIN, request_ttl_seconds=10, no_endpoint_ttl_seconds=4),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        1 arrive r3
        8 pool                 # r2: 8 + 4, but not later than 0 + 10
        10 expire
        11 expire
        """,
        """
        0 r1 -> a
        10 r2 EvictedNoEndpoints after 10
        11 r3 EvictedNoEndpoints after 10
        """,
    ),
    "whoever waits for the first endpoint goes when it comes": (
        strict(),
        """
        pool
        0 arrive r1
        1 arrive r2
        30 pool a=2
        """,
        """
        30 r1 -> a after 30
        30 r2 -> a after 29
        """,
    ),
}

FAULTS = {
    "F1 what was sent counts at once, and a change lets everybody go who fits": (
        strict(),
        """
        pool a=1 b=1
        0 arrive r1
        0 arrive r2
        0 arrive r3
        0 arrive r4
        0 arrive r5
        1 pool a=1 b=1 c=1 d=1 e=1
        """,
        """
        0 r1 -> a
        0 r2 -> b
        1 r3 -> c after 1
        1 r4 -> d after 1
        1 r5 -> e after 1
        """,
    ),
    "F3 an idle subset is not blocked by a busy pool, nor the pool by a busy subset": (
        strict(),
        """
        pool a=1 b=1 c=1
        0 arrive r1 lane=a
        0 arrive r2 lane=a
        0 arrive r3 lane=b
        0 arrive r4 lane=b|c
        0 arrive r5 lane=b|c
        1 end r4
        2 end r1
        """,
        """
        0 r1 -> a
        0 r3 -> b
        0 r4 -> c
        1 r5 -> c after 1
        2 r2 -> a after 2
        """,
    ),
    "F4 a band in which nobody waits is in nobody's way": (
        Settings(band=PLAIN, bands={5: PLAIN}, limit=StaticLimit(1.0)),
        """
        pool a=2
        0 arrive r1 priority=5
        0 arrive r2
        0 arrive r3
        1 end r1
        """,
        """
        0 r1 -> a
        0 r2 -> a
        1 r3 -> a after 1
        """,
    ),
    "F5 whoever leaves has a place; who does not fit stays and loses nothing": (
        strict(),
        """
        pool a=2 b=1
        0 arrive r1 lane=a
        0 arrive r2 need=2
        0 arrive r3 flow=y
        1 end r1
        """,
        """
        0 r1 -> a
        0 r3 -> b
        1 r2 -> a after 1
        """,
    ),
    "F6 a priority that nobody configured has a band of its own, negative ones below": (
        Settings(
            band=PLAIN, negative_band=BandSettings(max_requests=1, fairness=GlobalStrict(), ordering=Fcfs())
        ),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 priority=-7
        0 arrive r3 priority=-7
        0 arrive r4
        1 end r1
        2 end r4
        """,
        """
        0 r1 -> a
        0 r3 RejectedCapacity, back in 20
        1 r4 -> a after 1
        2 r2 -> a after 2
        """,
    ),
    "F7 whose time is over frees its room in the same moment": (
        strict(max_requests=1),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 ttl=0.25
        0.25 expire
        0.25 arrive r3
        """,
        """
        0 r1 -> a
        0.25 r2 EvictedTTL after 0.25
        """,
    ),
    "F8 until it is stopped it serves, so that draining drains": (
        strict(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        29 end r1
        30 stop
        """,
        """
        0 r1 -> a
        29 r2 -> a after 29
        """,
    ),
    "F9 a place is taken until its end, however long that takes": (
        strict(),
        """
        pool a=1
        0 arrive r1
        3600 arrive r2
        3601 changed
        3602 end r1
        """,
        """
        0 r1 -> a
        3602 r2 -> a after 2
        """,
    ),
    "F10 by default who asks ten times as much does not get more": (
        Settings(),
        """
        pool a=1
        0 arrive r1 flow=greedy tokens=100
        0 arrive r2 flow=greedy tokens=100
        0 arrive r3 flow=greedy tokens=100
        0 arrive r4 flow=greedy tokens=100
        1 arrive r5 flow=modest tokens=100
        1 arrive r6 flow=modest tokens=100
        2 end r1
        3 end r5
        4 end r2
        5 end r6
        """,
        """
        0 r1 -> a
        2 r5 -> a after 1
        3 r2 -> a after 3
        4 r6 -> a after 3
        5 r3 -> a after 5
        """,
    ),
    "F13 all bodies together are limited by default": (
        Settings(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 bytes=600000000
        0 arrive r3 bytes=500000000 priority=1
        """,
        """
        0 r1 -> a
        0 r3 RejectedCapacity, back in 10
        """,
    ),
}

OURS = {
    "the least work goes first, and who does not fit lets smaller ones pass": (
        Settings(),
        """
        pool a=3
        0 arrive r1
        0 arrive r2 need=2
        0 arrive r3 work=3 need=2
        0 arrive r4 work=1 need=2
        0 arrive r5 work=2
        1 end r1               # one slot: r4 does not fit, r5 does
        2 end r2
        """,
        """
        0 r1 -> a
        0 r2 -> a
        1 r5 -> a after 1
        2 r4 -> a after 2
        """,
    ),
    "waiting is worth work": (
        Settings(band=BandSettings(ordering=ShortestWork(ageing=0.2))),
        """
        pool a=1
        0 arrive r1
        0 arrive r2 work=3
        10.5 arrive r3 work=1  # 3 - 0.2 * 11 < 1 - 0.2 * 0.5
        11 end r1
        """,
        """
        0 r1 -> a
        11 r2 -> a after 11
        """,
    ),
    "in order of arrival, whoever does not fit is passed by other flows, but not for ever": (
        strict(fairness=RoundRobin()),
        """
        pool a=2 b=1
        0 arrive r1 lane=a
        0 arrive r2 lane=a
        0 arrive r3 need=2 ttl=0
        0 arrive r4 lane=b flow=y
        1 arrive r5 flow=y ttl=0
        2 end r1               # a has one slot
        2 arrive r6 flow=y ttl=0
        40 end r5              # now it is kept
        41 end r2
        42 end r4
        """,
        """
        0 r1 -> a
        0 r2 -> a
        0 r4 -> b
        2 r5 -> a after 1
        41 r3 -> a after 41
        42 r6 -> b after 40
        """,
    ),
    "nobody passes one that has waited too long at the endpoint that it waits for": (
        Settings(band=BandSettings(ordering=ShortestWork(guard_seconds=30)), request_ttl_seconds=0),
        """
        pool a=2 b=1
        0 arrive r1 lane=a
        0 arrive r2 lane=a
        0 arrive r3 lane=b
        0 arrive r4 need=2 work=1
        1 arrive r5 work=2
        40 end r1              # a has one slot, which is kept
        41 end r2
        42 end r3
        """,
        """
        0 r1 -> a
        0 r2 -> a
        0 r3 -> b
        41 r4 -> a after 41
        42 r5 -> b after 41
        """,
    ),
    "weights are shares": (
        Settings(),
        """
        pool a=1
        0 arrive r1 flow=z
        0 arrive r2 flow=big weight=2 tokens=100
        0 arrive r3 flow=big weight=2 tokens=100
        0 arrive r4 flow=big weight=2 tokens=100
        0 arrive r5 flow=small tokens=100
        0 arrive r6 flow=small tokens=100
        1 end r1
        2 end r2
        3 end r5
        4 end r3
        5 end r6
        """,
        """
        0 r1 -> a
        1 r2 -> a after 1
        2 r5 -> a after 2
        3 r3 -> a after 3
        4 r6 -> a after 4
        5 r4 -> a after 5
        """,
    ),
    "what an answer has cost is charged when that is known": (
        Settings(band=BandSettings(fairness=VirtualTokenCounter(output_weight=2), ordering=Fcfs())),
        """
        pool a=1
        0 arrive r1 flow=x tokens=100
        0 arrive r2 flow=x tokens=10
        0 arrive r3 flow=y tokens=10
        0 arrive r4 flow=y tokens=10
        0 arrive r5 flow=x tokens=10
        1 end r1 output=500
        2 end r3
        3 end r4
        4 end r2
        """,
        """
        0 r1 -> a
        1 r3 -> a after 1
        2 r4 -> a after 2
        3 r2 -> a after 3
        4 r5 -> a after 4
        """,
    ),
    "among flows in credit the one goes first whose prompt is cached": (
        Settings(band=BandSettings(fairness=Dlpm(quantum_tokens=1000), ordering=Fcfs())),
        """
        pool a=1
        0 arrive r1 flow=z
        0 arrive r2 flow=cold tokens=600
        0 arrive r3 flow=warm tokens=700 cached=100
        0 arrive r4 flow=warm tokens=700 cached=100
        0 arrive r5 flow=warm tokens=700 cached=100
        1 end r1
        2 end r3
        3 end r4               # now warm has had its quantum
        4 end r2
        """,
        """
        0 r1 -> a
        1 r3 -> a after 1
        2 r4 -> a after 2
        3 r2 -> a after 3
        4 r5 -> a after 4
        """,
    ),
    "a minimum share is had however much higher bands want": (
        Settings(
            band=PLAIN, bands={0: BandSettings(fairness=GlobalStrict(), ordering=Fcfs(), minimum_share=0.5)}
        ),
        """
        pool a=1
        0 arrive r1 priority=1 tokens=10
        0 arrive r2 priority=1 tokens=10
        0 arrive r3 priority=1 tokens=10
        0 arrive r4 tokens=10
        0 arrive r5 tokens=10
        1 end r1
        2 end r2
        3 end r4
        4 end r3
        """,
        """
        0 r1 -> a
        1 r2 -> a after 1
        2 r4 -> a after 2
        3 r3 -> a after 3
        4 r5 -> a after 4
        """,
    ),
    "some room is held back for what matters more": (
        Settings(band=PLAIN, bands={1: PLAIN, 0: PLAIN}, limit=PriorityHoldback(min_ceiling=0.5)),
        """
        pool a=2
        0 arrive r1
        0 arrive r2
        0 arrive r3 priority=1
        1 end r1
        2 end r3
        """,
        """
        0 r1 -> a
        0 r3 -> a
        2 r2 -> a after 2
        """,
    ),
    "sheddable work leaves the room that others used lately": (
        Settings(band=PLAIN, limit=KeepHeadroom(window_seconds=10)),
        """
        pool a=4
        0 arrive r1
        0 arrive r2
        0 arrive r3 priority=-1
        1 arrive r4 priority=-1
        1 arrive r5 priority=-1
        2 end r1                # its client thinks: nobody gets its place
        2 end r2
        3 arrive r6
        3 arrive r7
        4 end r3                # this one is for those that can wait
        5 end r6
        5 end r7
        9 changed               # still kept
        17 changed              # forgotten
        """,
        """
        0 r1 -> a
        0 r2 -> a
        0 r3 -> a
        1 r4 -> a
        3 r6 -> a
        3 r7 -> a
        4 r5 -> a after 3
        """,
    ),
    "no more than a share is kept, and forgotten at last": (
        Settings(band=PLAIN, limit=KeepHeadroom(window_seconds=10, max_share=0.5)),
        """
        pool a=4
        0 arrive r9 priority=-1
        0 end r9
        1 arrive r1
        1 arrive r2
        1 arrive r3
        1 arrive r4
        2 arrive r5 priority=-1
        2 arrive r6 priority=-1
        2 arrive r7 priority=-1
        3 end r1
        3 end r2
        3 end r3
        3 end r4
        9 changed
        14 changed
        """,
        """
        0 r9 -> a
        1 r1 -> a
        1 r2 -> a
        1 r3 -> a
        1 r4 -> a
        3 r5 -> a after 1
        3 r6 -> a after 1
        14 r7 -> a after 12
        """,
    ),
    "a lower band is let through now and then": (
        Settings(band=PLAIN, bands={1: PLAIN, 0: PLAIN}, limit=SoftReflectiveCeiling()),
        """
        pool a=4
        0 arrive r1 priority=1
        0 arrive r2 priority=1
        0 arrive r3 priority=1
        0 arrive r4            # the pool is at 0.75: its ceiling is 0.25, but for every third turn
        1 changed
        2 changed
        3 changed
        """,
        """
        0 r1 -> a
        0 r2 -> a
        0 r3 -> a
        2 r4 -> a after 2
        """,
    ),
    "what is broken is broken for itself": (
        strict(),
        """
        pool a=1
        0 arrive r1
        0 arrive r2
        0 arrive r3 broken=1
        0 arrive r4
        1 end r1
        2 end r2
        3 end r4
        3 arrive r5 broken=1
        """,
        """
        0 r1 -> a
        1 r2 -> a after 1
        2 r3 failed: nowhere
        2 r4 -> a after 2
        3 r5 failed: nowhere
        """,
    ),
}


@pytest.mark.parametrize("name", [*SCENES, *FAULTS, *OURS])
def test_transcript(name: str) -> None:
    """The whole trace, nothing more and nothing less."""
    settings, scene, expected = {**SCENES, **FAULTS, **OURS}[name]
    assert play(scene, settings) == trace(expected)
