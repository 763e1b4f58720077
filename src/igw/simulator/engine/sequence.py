"""What an engine works on: a sequence, how far it is, the steps it takes part in, what they produce.

Who gets into a step is decided in `engine`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length"]
State = Literal["waiting", "loading", "loaded", "prefilling", "decoding", "ended"]


class Sequence(msgspec.Struct, frozen=True):
    """One prompt and the answer it will get.

    `block_hashes` are those of the full blocks of prompt and output in order; blocks beyond them are never cached.
    Any integers will do, so model, adapter and cache salt have to be hashed into them.
    With `stream` there is an emission for every token, else for the first and for the last only.
    `priority` is vLLM's: lower runs sooner, under the scheduling policy "priority" only.

    Disaggregated serving: the keys and values of the first `remote_tokens` of the prompt arrive from another server,
    `load_seconds` after there is memory for them. With `hold` the prompt's blocks stay in memory after the end, for
    another server to fetch, until `Engine.release`.
    """

    id: str
    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()
    finish_reason: FinishReason = "length"
    stream: bool = False
    priority: int = 0
    adapter: str | None = None
    remote_tokens: int = 0
    load_seconds: float = 0.0
    hold: bool = False


class Emission(msgspec.Struct, frozen=True, gc=False):
    """What was produced for one sequence: `new_tokens` since its emission before, `total_tokens` in all.

    `cached_tokens` of the prompt were not computed but found or loaded; `queued_seconds` passed before it first ran.
    """

    sequence: Sequence
    new_tokens: int
    total_tokens: int
    cached_tokens: int
    queued_seconds: float
    preemptions: int = 0

    @property
    def reason(self) -> FinishReason | None:
        """Why the sequence ended with this step; None while it goes on."""
        return self.sequence.finish_reason if self.total_tokens == self.sequence.output_tokens else None


class Progress:
    """A sequence on its way.

    `computed` and `generated` of a decoding sequence are those of the moment it joined `Decoding`, which counts for it.
    It holds `blocks`; of the first `named` ones all have their hash for a name, except for those in `copies`.
    """

    __slots__ = (
        "blocks",
        "cached",
        "computed",
        "copies",
        "emitted",
        "end",
        "generated",
        "hashes",
        "joined",
        "key",
        "named",
        "phase",
        "preemptions",
        "queued_seconds",
        "reach",
        "remote",
        "scheduled",
        "sequence",
        "since",
        "state",
        "stuck",
        "ticket",
    )

    def __init__(self, sequence: Sequence, hashes: tuple[int, ...], now: float, key: tuple[int, int]) -> None:
        self.sequence = sequence
        self.hashes = hashes
        self.since = now
        self.key = key
        """Its place among those that wait: lower goes first."""
        self.ticket = 0
        """Its place among those that run."""
        self.state: State = "waiting"
        self.scheduled = False
        """Whether the step under way computes a chunk of it."""
        self.queued_seconds = -1.0
        self.cached = -1
        self.computed = 0
        self.generated = 0
        self.emitted = 0
        self.preemptions = 0
        self.blocks = 0
        self.named = 0
        self.copies: set[int] = set()
        self.remote = min(sequence.remote_tokens, sequence.prompt_tokens - 1)
        self.reach = 0
        """Tokens that will be there when loading ends."""
        self.stuck = -1
        """How many blocks were found when it last did not fit; -1 when it was not tried."""
        self.joined = self.phase = self.end = 0

    @property
    def known(self) -> int:
        """Tokens whose keys and values are wanted: the prompt and what was generated so far."""
        return self.sequence.prompt_tokens + self.generated

    def emission(self, total: int) -> Emission:
        """Tell of everything up to its token number `total`."""
        new, self.emitted = total - self.emitted, total
        return Emission(self.sequence, new, total, self.cached, self.queued_seconds, self.preemptions)


class Step:
    """One forward pass: how many sequences decode in it, which prompts it computes a piece of, how long it takes."""

    __slots__ = (
        "budget",
        "chunks",
        "decode_kv_tokens",
        "decode_sequences",
        "duration_seconds",
        "extra_seconds",
        "finished_prefills",
        "prefill",
    )

    def __init__(self, budget: int, decode_sequences: int, decode_kv_tokens: int) -> None:
        self.budget = budget - decode_sequences
        self.chunks: list[tuple[Progress, int]] = []
        self.prefill: list[tuple[int, int]] = []
        self.decode_sequences = decode_sequences
        self.decode_kv_tokens = decode_kv_tokens
        self.finished_prefills = 0
        self.extra_seconds = 0.0
        self.duration_seconds = 0.0

    @property
    def tokens(self) -> int:
        """All tokens that go through the model in this step."""
        return self.decode_sequences + sum(new for new, _ in self.prefill)

    def add(self, progress: Progress, tokens: int) -> None:
        """Let *progress*, which is not decoding yet, compute its next `tokens`."""
        self.budget -= tokens
        self.chunks.append((progress, tokens))
        known = progress.known
        if progress.generated and known - progress.computed == 1:
            # Preempted, and all but the last token found again: the same work as a decode.
            self.decode_sequences += 1
            self.decode_kv_tokens += known
            return
        self.prefill.append((tokens, progress.computed))
        self.finished_prefills += progress.computed + tokens == known
