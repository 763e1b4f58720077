"""How much of prompts could have been cached at best: what was believed where they went, against all that is held anywhere. Counts tokens only."""

from __future__ import annotations

from igw.decision import Decision
from igw.prefix.hashing import tokens_at
from igw.prefix.index import PrefixIndex
from igw.routing.claims import Claim, View
from igw.scheduling.scheduler import Choice
from igw.telemetry.families import Families

EVERY = 10
"""Decisions: one in so many is counted, which tells ratios as well."""


class Ceiling:
    """A running oracle: one cache that holds what all caches hold."""

    def __init__(self, prefix: PrefixIndex, families: Families) -> None:
        self._held_anywhere = prefix.held_anywhere
        tokens = families.prefix_tokens_total.labels
        self._prompts, self._picked, self._anywhere = tokens("prompt"), tokens("picked"), tokens("anywhere")

    def made(self, _claim: Claim, view: View, _choice: Choice, decision: Decision) -> None:
        """Count a decision (`igw.routing.router.Watcher`): before its prompt is believed to be held where it goes."""
        if decision.id % EVERY:
            return
        prompt, matches = decision.request.prompt_tokens, view.facts.matched_tokens
        if not prompt:
            return
        best = max(tokens_at(self._held_anywhere(decision.blocks)), matches.item(matches.argmax()))
        self._prompts.inc(prompt)
        self._picked.inc(decision.matched_tokens)
        self._anywhere.inc(min(best, prompt))
