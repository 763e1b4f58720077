"""Which policies of flow control there are, by type. Reading their parameters is `scheduling.configured`."""

from __future__ import annotations

from typing import Any

from igw.flow.eviction.priority_then_time import PriorityThenTime
from igw.flow.eviction.sheddable import Sheddable
from igw.flow.fairness.deficit_round_robin import DeficitRoundRobin
from igw.flow.fairness.dlpm import Dlpm
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.fairness.program_aware import ProgramAware
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

POLICIES: dict[str, type[Any]] = {
    policy.type: policy
    for policy in (
        GlobalStrict,
        RoundRobin,
        ProgramAware,
        VirtualTokenCounter,
        DeficitRoundRobin,
        Dlpm,
        Fcfs,
        Edf,
        SloDeadline,
        ShortestWork,
        StaticLimit,
        PriorityHoldback,
        SoftReflectiveCeiling,
        KeepHeadroom,
        Sheddable,
        PriorityThenTime,
    )
}
