"""Whether the exact index is silently useless: what requests and answers show of it, each doubt reported once with its cure.

Upstream scores zero in four ways without a word. Who logs a doubt and counts it is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

CURES: Mapping[str, str] = {
    "no-events": "it served requests and published nothing: start it with KV events on (vLLM: --kv-events-config with enable_kv_cache_events"
    " and publisher zmq; SGLang: --kv-events-config), and see that port and label igw.dev/kv-events-port are right",
    "no-parents": "most of its blocks hang on blocks from before our time: set replaySocketPort, and replay_endpoint at the engine",
    "no-tokens": "requests bring text and nobody makes tokens of it in time: give token-producer the model's files (local) or a server (vllm); where the"
    " endpoints are asked, they must serve /tokenize as vLLM does; until then the approximate index is used",
    "never-match": "it reports cached tokens and none of its blocks ever match: tokens are made by another tokenizer or chat template than"
    " its own, or it is another model",
}
"""What to do about each kind of doubt."""

_ENOUGH = 20
"""Requests before anything is said."""
_MANY_ORPHANS = 100
_LEAST_TOKENS = 64
_MOST_ENDPOINTS = 10_000


class Doubt(msgspec.Struct, frozen=True):
    """One thing that makes the exact index useless."""

    kind: str
    """One of `CURES`."""
    endpoint: str
    """`ip:port`; empty: all."""

    @property
    def cure(self) -> str:
        """What to do."""
        return CURES[self.kind]


class _Seen:
    __slots__ = ("cached", "matched", "served")

    def __init__(self) -> None:
        self.served = self.cached = self.matched = 0


class Doubts:
    """Counts what requests show. *report* is told of each doubt once, again only after it went away."""

    def __init__(self, told: Callable[[str], tuple[int, int]], report: Callable[[Doubt], None]) -> None:
        self._told = told
        self.report = report
        self._seen: dict[str, _Seen] = {}
        self._texts = 0
        self._standing: dict[Doubt, None] = {}

    @property
    def standing(self) -> tuple[Doubt, ...]:
        """The doubts there are."""
        return tuple(self._standing)

    def asked(self, *, tokens: bool) -> None:
        """Note that a request was decided, with its tokens or without."""
        self._texts = 0 if tokens else self._texts + 1
        self._say(Doubt("no-tokens", ""), doubtful=self._texts >= _ENOUGH)

    def served(
        self, endpoint: str, prompt_tokens: int, held_tokens: float, cached_tokens: int | None
    ) -> None:
        """Note an answer of *endpoint*, whose engine was known to hold *held_tokens* of the prompt and reports *cached_tokens*."""
        if prompt_tokens < _LEAST_TOKENS:
            return
        seen = self._seen.get(endpoint)
        if seen is None:
            if len(self._seen) >= _MOST_ENDPOINTS:
                return
            seen = self._seen[endpoint] = _Seen()
        seen.served += 1
        seen.matched += held_tokens > 0
        seen.cached += cached_tokens is not None and cached_tokens >= _LEAST_TOKENS
        stored, orphans = self._told(endpoint)
        silent = seen.served >= _ENOUGH and not stored and not orphans
        self._say(Doubt("no-events", endpoint), doubtful=silent)
        self._say(Doubt("no-parents", endpoint), doubtful=orphans >= _MANY_ORPHANS and orphans > stored)
        never = seen.cached >= _ENOUGH and not seen.matched and stored > 0
        self._say(Doubt("never-match", endpoint), doubtful=never)

    def left(self, endpoint: str) -> None:
        """Forget an endpoint that left its pool."""
        self._seen.pop(endpoint, None)
        for doubt in [each for each in self._standing if each.endpoint == endpoint]:
            del self._standing[doubt]

    def _say(self, doubt: Doubt, *, doubtful: bool) -> None:
        if not doubtful:
            self._standing.pop(doubt, None)
        elif doubt not in self._standing:
            self._standing[doubt] = None
            self.report(doubt)
