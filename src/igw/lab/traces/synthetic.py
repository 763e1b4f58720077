"""Conversations out of a few numbers: rate, lengths, shared system prompts, turns, pauses.

The published shared-prefix benchmark is in `shared_prefix`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log, sqrt
from random import Random
from typing import Annotated, ClassVar

import msgspec

from igw.lab import blocks
from igw.lab.workload import Session, Turn

_Count = Annotated[int, msgspec.Meta(ge=1)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Synthetic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rate` conversations start per second, Poisson, for `seconds`.

    A first prompt has `prompt_tokens` in the mean, log-normal with a coefficient of variation of `spread`, and begins with one of `prefixes`
    system prompts of `prefix_share` times the mean; a prompt is at least one token longer than that. `turns` requests make a conversation
    in the mean (geometric): each prompt is the whole conversation and a new question as long as the first one's own part. Answers have
    `output_tokens` in the mean, pauses `think_seconds` (exponential). Conversations belong to `tenants` by turns.
    """

    block_tokens: ClassVar[int] = 16

    rate: _Positive = 5.0
    seconds: _Positive = 120.0
    prompt_tokens: _Count = 1000
    output_tokens: _Count = 200
    spread: _NotNegative = 0.5
    prefix_share: _Share = 0.0
    prefixes: _Count = 10
    turns: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    think_seconds: _NotNegative = 5.0
    tenants: _Count = 1
    seed: int = 0

    def sessions(self) -> Iterator[Session]:
        """Yield conversations by the time of their start."""
        rng, fresh = Random(self.seed), blocks.Fresh()
        shared = round(self.prompt_tokens * self.prefix_share) // self.block_tokens
        at, number = rng.expovariate(self.rate), 0
        while at < self.seconds:
            prefix = (rng.randrange(self.prefixes) * shared, shared)
            yield Session(
                f"session-{number}",
                self._conversation(prefix, rng, fresh),
                at,
                tenant=f"tenant-{number % self.tenants}",
            )
            number += 1
            at += rng.expovariate(self.rate)

    def _conversation(self, prefix: tuple[int, int], rng: Random, fresh: blocks.Fresh) -> tuple[Turn, ...]:
        """Return the turns of one conversation, all of them being the beginning of one text."""
        shared_tokens = prefix[1] * self.block_tokens
        sizes: list[tuple[int, int, float]] = []
        prompt_tokens, think_seconds = shared_tokens, 0.0
        while True:
            prompt_tokens += self._length(self.prompt_tokens - shared_tokens, rng)
            output_tokens = self._length(self.output_tokens, rng)
            sizes.append((prompt_tokens, output_tokens, think_seconds))
            prompt_tokens += output_tokens
            if rng.random() * self.turns < 1:
                break
            think_seconds = rng.expovariate(1 / self.think_seconds) if self.think_seconds else 0.0
        total = blocks.started(prompt_tokens, self.block_tokens)
        text = blocks.joined((prefix, *fresh.take(total - prefix[1])))
        return tuple(
            Turn(
                prompt,
                output,
                blocks.between(text, 0, blocks.started(prompt + output, self.block_tokens)),
                think,
            )
            for prompt, output, think in sizes
        )

    def _length(self, mean: int, rng: Random) -> int:
        """Return a log-normal length with that mean, at least one token."""
        sigma = sqrt(log(1 + self.spread * self.spread))
        return max(1, round(mean * exp(rng.gauss(-sigma * sigma / 2, sigma))))
