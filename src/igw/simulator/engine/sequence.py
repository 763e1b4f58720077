"""What an engine works on: a sequence, how far it is, the steps it takes part in, what they produce.

Who gets into a step is decided in `engine`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length"]


class Sequence(msgspec.Struct, frozen=True):
    """One prompt and the answer it will get.

    `block_hashes` are those of the full blocks of prompt and output in order; blocks beyond them are never cached.
    """

    id: str
    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()
    finish_reason: FinishReason = "length"


class Emission(msgspec.Struct, frozen=True, gc=False):
    """What a step produced for one sequence."""

    sequence: Sequence
    new_tokens: int
    total_tokens: int
    cached_tokens: int
    queued_seconds: float

    @property
    def reason(self) -> FinishReason | None:
        """Why the sequence ended with this step; None while it goes on."""
        return self.sequence.finish_reason if self.total_tokens == self.sequence.output_tokens else None


class Progress:
    """A sequence on its way; `held` has one entry per block, its hash or None for an unnamed one."""

    __slots__ = (
        "cached",
        "computed",
        "generated",
        "held",
        "live",
        "named",
        "queued_seconds",
        "sequence",
        "since",
    )

    def __init__(self, sequence: Sequence, now: float) -> None:
        self.sequence = sequence
        self.since = now
        self.queued_seconds = -1.0
        self.cached = 0
        self.computed = 0
        self.generated = 0
        self.held: list[int | None] = []
        self.named = 0
        self.live = True

    @property
    def known(self) -> int:
        """Tokens whose keys and values are wanted: the prompt and what was generated so far."""
        return self.sequence.prompt_tokens + self.generated


class Step:
    """One forward pass: the tokens each sequence computes in it, and how long it takes."""

    __slots__ = (
        "budget",
        "chunks",
        "decode_kv_tokens",
        "decode_sequences",
        "duration_seconds",
        "finished_prefills",
        "prefill",
    )

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.chunks: list[tuple[Progress, int]] = []
        self.prefill: list[tuple[int, int]] = []
        self.decode_sequences = 0
        self.decode_kv_tokens = 0
        self.finished_prefills = 0
        self.duration_seconds = 0.0

    def add(self, progress: Progress, tokens: int) -> None:
        """Let *progress* compute its next `tokens`."""
        self.budget -= tokens
        self.chunks.append((progress, tokens))
        if progress.generated and progress.known - progress.computed == 1:
            self.decode_sequences += 1
            self.decode_kv_tokens += progress.known
            return
        self.prefill.append((tokens, progress.computed))
        self.finished_prefills += progress.computed + tokens == progress.known
