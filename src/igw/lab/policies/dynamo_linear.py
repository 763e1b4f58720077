"""`dynamo-linear`: the KV router's cost of NVIDIA Dynamo, prefill blocks plus decode blocks.

Source: Dynamo's documentation, "Routing Concepts", v1.5, defaults: `prefill_load_scale` 1, overlap credit 1, temperature 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from igw.decision import Decision
from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.prefills import Prefills
from igw.lab.policies.ranking import choose
from igw.outcomes.outcome import Outcome
from igw.prefix.hashing import BLOCK_TOKENS, tokens_at
from igw.request import Request
from igw.scheduling.scheduler import Choice


class ActiveBlocks:
    """The prompts under way at one endpoint, a shared prefix counted once, as in Dynamo's slot tracker.

    Output is not counted, which is the original's default.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._users: dict[int, int] = {}

    def new_tokens(self, blocks: Sequence[int], prompt_tokens: int) -> int:
        """Return what a prompt would add."""
        depth = 0
        for block in blocks:
            if block not in self._users:
                break
            depth += 1
        return prompt_tokens - tokens_at(depth)

    def add(self, decision: Decision) -> None:
        """Count a prompt in."""
        users = self._users
        self.tokens += self.new_tokens(decision.blocks, decision.request.prompt_tokens)
        for block in decision.blocks:
            users[block] = users.get(block, 0) + 1

    def remove(self, decision: Decision) -> None:
        """Count it out: what nobody else uses goes."""
        users, blocks = self._users, decision.blocks
        self.tokens -= decision.request.prompt_tokens - tokens_at(len(blocks))
        for block, tokens in zip(blocks, BLOCK_TOKENS, strict=False):
            users[block] -= 1
            if not users[block]:
                del users[block]
                self.tokens -= tokens


@dataclass
class DynamoLinear:
    """Cost: `prefill_load_scale x max(0, prefill blocks under way + this prompt's - credit x matched) + decode blocks`.

    Prefill blocks are let go at the first token, decode blocks (prompts under way, this one included) at the end.
    """

    setting: Setting
    watches_answers: ClassVar[bool] = True
    prefill_load_scale: float = 1.0
    overlap_credit: float = 1.0
    block_tokens: int = 16
    _prefills: Prefills = field(default_factory=Prefills, init=False)
    _active: dict[str, ActiveBlocks] = field(default_factory=dict, init=False)

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the candidates of the smallest cost."""
        prompt = request.prompt_tokens
        prefill = self._prefills.column(facts.endpoints) + prompt - self.overlap_credit * facts.matched_tokens
        decode = []
        for endpoint in facts.endpoints:
            active = self._active.get(endpoint.hostport)
            decode.append(active.tokens + active.new_tokens(facts.blocks, prompt) if active else prompt)
        scores = {
            "prefill blocks": -self.prefill_load_scale * np.maximum(0.0, prefill) / self.block_tokens,
            "decode blocks": -np.array(decode, dtype=np.float64) / self.block_tokens,
        }
        return choose(scores, self.setting.rng)

    def decided(self, decision: Decision) -> None:
        """Count the prompt among those to compute and among those held."""
        self._prefills.begin(decision)
        self._active.setdefault(decision.endpoint.hostport, ActiveBlocks()).add(decision)

    def first_token(self, decision: Decision) -> None:
        """The prompt is computed."""
        self._prefills.end(decision)

    def ended(self, decision: Decision, _outcome: Outcome) -> None:
        """The prompt is held no longer."""
        self._prefills.end(decision)
        self._active[decision.endpoint.hostport].remove(decision)
