"""What an outcome teaches: which endpoints refuse, and what their prefix caches really held."""

from __future__ import annotations

from collections.abc import Callable

from igw.columns import Columns
from igw.decision import Decision
from igw.facts import APPROXIMATE
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import BYTES_PER_TOKEN, depth_at
from igw.prefix.index import PrefixIndex

_BELIEVED_TOKENS = 256
"""Beliefs about fewer tokens than this are too coarse to be judged by a token count."""


class Correction:
    """A ledger listener that corrects columns and prefix index. `columns_of` finds the columns of a request's pool."""

    def __init__(self, prefix: PrefixIndex, columns_of: Callable[[str], Columns | None]) -> None:
        self._prefix = prefix
        self._columns_of = columns_of

    def __call__(self, decision: Decision, outcome: Outcome) -> None:
        """Take the lesson of one outcome."""
        picked, served_by = decision.endpoint.hostport, decision.server(outcome.served_by)
        columns = self._columns_of(decision.request.head.pool)
        if columns is not None and (outcome.unreachable or served_by != picked):
            columns.fail(picked)
        slot = self._prefix.slot_of(picked)
        if slot is None:
            return
        computed = outcome.end is not End.FAILED and outcome.status < 400
        if not computed or served_by != picked:
            # It never computed this prompt: only what was matched before may be there.
            self._prefix.forget(slot, decision.blocks[depth_at(decision.matched_tokens) :])
        elif (
            outcome.usage.cached_tokens is not None
            and decision.matched_tokens >= _BELIEVED_TOKENS
            and decision.matched_by in ("", APPROXIMATE)  # others' knowledge teaches nothing of this index's
        ):
            self._prefix.correct(slot, decision.matched_tokens, self._tokens_cached(decision, outcome))
        if computed and served_by != picked and (other := self._prefix.slot_of(served_by)) is not None:
            self._prefix.record(other, decision.blocks)

    @staticmethod
    def _tokens_cached(decision: Decision, outcome: Outcome) -> int:
        """Convert the engine's cached tokens to ours, by the real bytes per token of this very prompt."""
        usage = outcome.usage
        if not usage.prompt_tokens or usage.cached_tokens is None:
            return decision.matched_tokens
        bytes_per_token = decision.request.prompt_bytes / usage.prompt_tokens
        return int(usage.cached_tokens * bytes_per_token / BYTES_PER_TOKEN)
