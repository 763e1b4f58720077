"""`consistent-hashing`: a ring of hashes with bounded load (CHWBL, Mirrokni, Thorup and Zadimoghaddam, 2018), keyed by the prompt's start.

KubeAI's `PrefixHash` with its defaults: 256 points per endpoint, load factor 1.25.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from xxhash import xxh3_64_intdigest

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import NAMED
from igw.prefix.hashing import BYTES_PER_TOKEN, depth_at
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class ConsistentHashing:
    """Equal starts go to the same endpoint unless it is full; then to the next on the ring that is not.

    Full is `ceil(load_factor x (requests in flight + 1) / endpoints)`, so at least one always has room.
    """

    setting: Setting
    load_factor: float = 1.25
    points: int = 256
    """Places of each endpoint on the ring (KubeAI's `replication`)."""
    prefix_tokens: int = 256
    """How much of the prompt makes the key (SMG's `prefix_hash` takes as much; KubeAI the first 100 characters)."""
    _endpoints: tuple[Endpoint, ...] = field(default=(), init=False)
    _ring: list[int] = field(default_factory=list, init=False)
    _owner: list[int] = field(default_factory=list, init=False)

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the first with room after the key's place on the ring, then the next other one."""
        if facts.endpoints != self._endpoints:
            self._place(facts.endpoints)
        count = len(facts.endpoints)
        limit = math.ceil(self.load_factor * (facts.inflight.sum() + 1) / count)
        order = self._walk(bisect_left(self._ring, self._key(request, facts)))
        full = [index for index in order if facts.inflight[index] + 1 > limit]
        order = [index for index in order if index not in full] + full
        distance = np.empty(count)
        distance[order] = np.arange(count)
        return Choice(order[:NAMED], {"ring": -distance})

    def _place(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Build the ring: an endpoint's points depend on its address only, so the others' keys stay when one comes or goes."""
        points = sorted(
            (xxh3_64_intdigest(f"{endpoint.hostport} {number}".encode()), index)
            for index, endpoint in enumerate(endpoints)
            for number in range(self.points)
        )
        self._ring, self._owner = [point for point, _ in points], [index for _, index in points]
        self._endpoints = endpoints

    def _key(self, request: Request, facts: Facts) -> int:
        depth = min(depth_at(self.prefix_tokens), len(facts.blocks))
        if depth:
            return facts.blocks[depth - 1]
        start = b"".join(request.prompt)[: self.prefix_tokens * BYTES_PER_TOKEN]  # shorter than one block
        return xxh3_64_intdigest(request.seed + start)

    def _walk(self, start: int) -> list[int]:
        """Return all endpoints in the order in which the ring meets them from *start* on."""
        owner, met = self._owner, dict[int, None]()
        for step in range(len(owner)):
            met[owner[(start + step) % len(owner)]] = None
            if len(met) == len(self._endpoints):
                break
        return list(met)
