"""What a policy of the lab is, and what it may know."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.flow.saturation import Detector
from igw.flow.settings import Settings
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.scheduling.scheduler import Choice


class Policy(Protocol):
    """Picks; the same protocol as the product's scheduler.

    One that keeps state of its own may also have `decided(decision)`, called right after the reservation, `first_token(decision)`, called
    when the answer starts if the lab's signals are full, and `ended(decision, outcome)`, called when the ledger closes it. One with
    `watches_answers = True` is told of first tokens whatever the signals: the router it comes from sees every answer pass.
    """

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return candidate indices, best first."""
        ...


class Truth(Protocol):
    """The real state of the servers: for clairvoyant policies only."""

    def uncached_tokens(self, endpoint: Endpoint, request: Request, /) -> int:
        """Prompt tokens that the server would have to compute if the request arrived now."""
        ...

    def prefill_backlog(self, endpoint: Endpoint, /) -> list[tuple[int, int, int]]:
        """`(new, earlier, output)` tokens of each prompt there that is not computed yet, in the order they will be.

        New ones are still to be computed, earlier ones are computed or cached, the output is what comes after them.
        """
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

    def step_left_seconds(self, endpoint: Endpoint, /) -> float:
        """How long the step under way there still takes; 0 between steps."""
        ...

    def step_seconds(
        self,
        endpoint: Endpoint,
        prefill: Sequence[tuple[int, int]],
        decode_sequences: int,
        decode_kv_tokens: int,
        finished_prefills: int,
        /,
    ) -> float:
        """What such a step would take there: `StepTime.seconds` of its accelerator times its slow factor."""
        ...


class Setting(msgspec.Struct, frozen=True):
    """What a policy is built with."""

    rng: random.Random
    """Seeded by the run: ties and draws come from here."""
    clock: Callable[[], float]
    """Virtual seconds."""
    truth: Truth
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    kv_capacity_tokens: int = 0


class Holding(msgspec.Struct, frozen=True):
    """A policy in front of which requests wait until there is room, as the picker's flow control has it."""

    policy: Policy
    flow: Settings
    detector: Detector | None = None
    """What tells how full endpoints are, where the policy does not ask for the cost of work."""


Factory = Callable[[Setting], Policy | Holding]

__all__ = ["Decision", "Factory", "Holding", "Outcome", "Policy", "Setting", "Truth"]
