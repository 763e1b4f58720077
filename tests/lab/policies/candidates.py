"""What the tests of the policies pick among: facts, requests and decisions made from a few numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import tokens_at
from igw.request import Head, Request

DONE = Outcome(End.COMPLETE, status=200)


class Blind:
    """A truth that policies which could exist do not ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def setting(seed: int = 1, **fields: Any) -> Setting:
    """Return what a policy is built with."""
    fields.setdefault("truth", Blind())
    fields.setdefault("clock", Clock())
    return Setting(rng=random.Random(seed), **fields)


def endpoints(count: int) -> tuple[Endpoint, ...]:
    """Return so many endpoints, equal ones for equal numbers."""
    return tuple(Endpoint.at(f"10.0.0.{number + 1}", 8000) for number in range(count))


def request(
    prompt_tokens: int = 1000, headers: Mapping[str, str] | None = None, text: bytes = b""
) -> Request:
    """Return a request of so many tokens; policies read its bytes only when it has no full block."""
    prompt = (memoryview(text),) if text else ()
    return Request(
        Head("/v1/chat/completions", "POST", headers or {}), prompt=prompt, prompt_bytes=prompt_tokens * 4
    )


def facts(
    inflight: Sequence[float],
    matched: Sequence[float] | None = None,
    blocks: Sequence[int] = (),
    kv_usage: Sequence[float] | None = None,
    at: tuple[Endpoint, ...] | None = None,
) -> Facts:
    """Return what is known of as many candidates as *inflight* has entries."""
    count = len(inflight)
    none = [0.0] * count
    return Facts(
        waiting=np.array(none),
        running=np.array(inflight, dtype=np.float64),
        kv_usage=np.array(none if kv_usage is None else kv_usage, dtype=np.float64),
        inflight=np.array(inflight, dtype=np.float64),
        matched_tokens=np.array(none if matched is None else matched, dtype=np.float64),
        blocks=blocks,
        prefix_tokens=tokens_at(len(blocks)),
        inflight_tokens=np.array(none),
        endpoints=endpoints(count) if at is None else at,
    )


def decision(
    number: int, asked: Request, where: Endpoint, matched: int = 0, blocks: Sequence[int] = ()
) -> Decision:
    """Return the decision that *asked* goes to *where*."""
    return Decision(number, asked, (where,), blocks=blocks, matched_tokens=matched)
