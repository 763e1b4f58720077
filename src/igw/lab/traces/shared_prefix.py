"""Groups of prompts with a long system prompt in common, at a ladder of rates: a public benchmark of prefix-aware routing.

Workloads with conversations or lengths that vary are in `synthetic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.workload import Session, Turn

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]

LADDER: tuple[tuple[float, float], ...] = (
    (15, 50), (3, 20), (10, 20), (15, 20), (20, 38), (22, 34), (25, 30), (30, 25), (35, 21),
    (40, 38), (43, 36), (46, 33), (49, 30), (52, 29), (55, 27), (57, 26), (60, 25),
)  # fmt: skip
"""`(requests per second, seconds)` of each stage of llm-d's 73-capacity benchmark; the first one is its warm-up."""


class SharedPrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open loop with Poisson arrivals; the defaults are llm-d-kv-cache's 73-capacity benchmark (`LADDER`).

    `groups` system prompts of `prefix_tokens`, each with `prompts` continuations of `prompt_tokens`; all prompts are shuffled once and sent
    in turn, again and again, as inference-perf's shared-prefix generator does. With `rate` there is one stage of `seconds` instead of the
    ladder. `pause_seconds` pass between stages: the benchmark waits for the answers of a stage before the next one.
    """

    block_tokens: ClassVar[int] = 16

    rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    seconds: _Positive = 60.0
    groups: _Count = 150
    prompts: _Count = 5
    prefix_tokens: _Count = 6000
    prompt_tokens: _Count = 1200
    output_tokens: _Count = 1000
    pause_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    seed: int = 0

    @property
    def stages(self) -> tuple[tuple[float, float], ...]:
        """`(requests per second, seconds)` of each stage, in order."""
        return ((self.rate, self.seconds),) if self.rate else LADDER

    def stage_starts(self) -> tuple[float, ...]:
        """Return when each stage begins, and at last when everything has been sent."""
        starts = [0.0]
        for _, seconds in self.stages:
            starts.append(starts[-1] + seconds + self.pause_seconds)
        return tuple(starts)

    def sessions(self) -> Iterator[Session]:
        """Yield one session per request; the group is its tenant."""
        rng = Random(self.seed)
        order = [(group, prompt) for group in range(self.groups) for prompt in range(self.prompts)]
        rng.shuffle(order)
        fresh, number = blocks.Fresh(), 0
        for begin, (rate, seconds) in zip(self.stage_starts(), self.stages, strict=False):
            at = begin + rng.expovariate(rate)
            while at < begin + seconds:
                group, prompt = order[number % len(order)]
                yield Session(
                    f"request-{number}", (self._turn(group, prompt, fresh),), at, tenant=f"group-{group}"
                )
                number += 1
                at += rng.expovariate(rate)

    def _turn(self, group: int, prompt: int, fresh: blocks.Fresh) -> Turn:
        tokens = self.prefix_tokens + self.prompt_tokens
        shared = self.prefix_tokens // self.block_tokens  # the block across the border is the prompt's own
        own = blocks.started(tokens, self.block_tokens) - shared
        base = group * (shared + self.prompts * own)
        answer = blocks.started(tokens + self.output_tokens, self.block_tokens) - shared - own
        runs = blocks.joined(((base, shared), (base + shared + prompt * own, own), *fresh.take(answer)))
        return Turn(tokens, self.output_tokens, runs)
