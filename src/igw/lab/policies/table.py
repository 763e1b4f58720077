"""Which policies there are beside `EndpointPickerConfig` files, by name. What each does is in its own file."""

from __future__ import annotations

from functools import partial

from igw.lab.policies.affinity_token_load import AffinityTokenLoad
from igw.lab.policies.api import Factory
from igw.lab.policies.clairvoyant import Clairvoyant
from igw.lab.policies.consistent_hashing import ConsistentHashing
from igw.lab.policies.dynamo_linear import DynamoLinear
from igw.lab.policies.least_requests import LeastRequests
from igw.lab.policies.lmetric import LMetric
from igw.lab.policies.power_of_two import PowerOfTwo
from igw.lab.policies.random_choice import RandomChoice
from igw.lab.policies.round_robin import RoundRobin
from igw.lab.policies.session import SessionStickiness
from igw.lab.policies.sglang_cache_aware import SglangCacheAware
from igw.lab.policies.smg_least_load import SmgLeastLoad

POLICIES: dict[str, Factory] = {
    "round-robin": RoundRobin,
    "random": RandomChoice,
    "power-of-two": PowerOfTwo,
    "least-requests": LeastRequests,
    "consistent-hashing": ConsistentHashing,
    "session": SessionStickiness,
    "affinity-token-load": AffinityTokenLoad,
    "lmetric": LMetric,
    "sglang-cache-aware": SglangCacheAware,
    "dynamo-linear": DynamoLinear,
    "smg-least-load": SmgLeastLoad,
    "clairvoyant-greedy": Clairvoyant,
    "clairvoyant-e2e": partial(Clairvoyant, others=False),
    "clairvoyant-ttft": partial(Clairvoyant, decode=False, others=False),
}

CLAIRVOYANT = tuple(name for name in POLICIES if name.startswith("clairvoyant-"))
"""Bounds: the best of them per scenario is what the others are held against."""
