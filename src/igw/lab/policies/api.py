"""What a policy of the lab is, and what it may know."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import msgspec

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.scheduling.scheduler import Choice


class Policy(Protocol):
    """Picks; the same protocol as the product's scheduler.

    One that keeps state of its own may also have `decided(decision)`, called right after the reservation, and `ended(decision, outcome)`,
    called when the ledger closes it.
    """

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return candidate indices, best first."""
        ...


class Truth(Protocol):
    """The real state of the servers: for clairvoyant policies only."""

    def uncached_tokens(self, endpoint: Endpoint, request: Request, /) -> int:
        """Prompt tokens that the server would have to compute if the request arrived now."""
        ...

    def prefill_backlog(self, endpoint: Endpoint, /) -> list[tuple[int, int]]:
        """`(new, earlier)` tokens still to be computed of each prompt there, in the order they will be."""
        ...

    def decoding(self, endpoint: Endpoint, /) -> list[tuple[int, int]]:
        """`(context tokens, output tokens still to come)` of each sequence in its decode phase."""
        ...

    def free_tokens(self, endpoint: Endpoint, /) -> int:
        """KV memory that nobody holds."""
        ...

    def output_tokens(self, request: Request, /) -> int:
        """How long the answer will be."""
        ...


class Setting(msgspec.Struct, frozen=True):
    """What a policy is built with."""

    rng: random.Random
    """Seeded by the run: ties and draws come from here."""
    clock: Callable[[], float]
    """Virtual seconds."""
    truth: Truth
    max_num_seqs: int = 256
    kv_capacity_tokens: int = 0


Factory = Callable[[Setting], Policy]

__all__ = ["Decision", "Factory", "Outcome", "Policy", "Setting", "Truth"]
