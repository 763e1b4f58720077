"""What became of the requests of one run. Summing up is in `summary`."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Fate(StrEnum):
    """How a request ended."""

    COMPLETE = "complete"
    REJECTED = "rejected"
    """The picker refused it; or its server did, as longer than the context, say: then `server` tells which."""
    LOST = "lost"
    """Its server went away in the middle, or none that was picked could be reached."""
    UNFINISHED = "unfinished"
    """The run ended first."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One request. Times are seconds of virtual time."""

    session: str
    tenant: str
    fate: Fate
    server: int
    """Number of the server it was sent to; -1 if to none."""
    arrived: float
    held_seconds: float
    """From arrival to dispatch: time spent at the gateway."""
    queued_seconds: float
    """From arrival at the server to its first step, the front end included."""
    ttft_seconds: float
    """From arrival at the gateway to the first token."""
    e2e_seconds: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    """As the server found them."""
    warmup: bool = False
    """Whether it belongs to the warm-up, which no figure counts."""

    @property
    def tpot_seconds(self) -> float:
        """Mean time per output token after the first; 0 for an answer of one token."""
        return (
            (self.e2e_seconds - self.ttft_seconds) / (self.output_tokens - 1)
            if self.output_tokens > 1
            else 0.0
        )


class Sample(msgspec.Struct, frozen=True, gc=False):
    """All servers at one moment, one entry per server number."""

    at: float
    running: tuple[int, ...]
    waiting: tuple[int, ...]
    kv_usage: tuple[float, ...]


class ServerTotal(msgspec.Struct, frozen=True):
    """One server over the whole run."""

    name: str
    requests: int
    computed_tokens: int
    """Prompt tokens that were not cached."""
    output_tokens: int
    busy_seconds: float
    """Time with a step under way."""
    preemptions: int


class Run(msgspec.Struct, frozen=True):
    """One policy on one workload with one seed."""

    policy: str
    seed: int
    records: tuple[Record, ...]
    samples: tuple[Sample, ...]
    servers: tuple[ServerTotal, ...]
    virtual_seconds: float
    steps: int
    partial: bool = False
    """Whether it was stopped before its end."""
