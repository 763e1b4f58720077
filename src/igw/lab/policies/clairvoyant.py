"""`clairvoyant-*`: bounds, not policies: they know every server's exact state and how long every answer will be.

What a request costs is worked out on the engine's own step times, as a fluid: steps of equal size instead of each one. That errs by a
part of a step. Requests that have not arrived are unknown here too, so this is greedy, not optimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


class Delay(msgspec.Struct, frozen=True):
    """What a request would cost at one endpoint, in seconds."""

    ttft: float
    """Until its own first token."""
    decode: float
    """From there to its own last."""
    others: float
    """Added to the ends of all requests that are there, summed."""


class _Work(msgspec.Struct, frozen=True):
    """Prompts to compute one after another: how long, in how many steps."""

    seconds: float
    steps: int


@dataclass
class Clairvoyant:
    """Takes the endpoint of the least added delay; the flags say whose delay counts beside the request's own first token."""

    setting: Setting
    decode: bool = True
    others: bool = True
    watches_answers: ClassVar[bool] = True

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the candidates of the least delay."""
        output = self.setting.truth.output_tokens(request)
        delays = [self.delay(endpoint, request, output) for endpoint in facts.endpoints]
        scores = {"ttft": -np.array([delay.ttft for delay in delays])}
        if self.decode:
            scores["decode"] = -np.array([delay.decode for delay in delays])
        if self.others:
            scores["others"] = -np.array([delay.others for delay in delays])
        return choose(scores, self.setting.rng)

    def delay(self, endpoint: Endpoint, request: Request, output: int) -> Delay:
        """Return what *request* with an answer of *output* tokens would cost at *endpoint*."""
        truth = self.setting.truth
        backlog, decoding = truth.prefill_backlog(endpoint), truth.decoding(endpoint)
        new = max(1, truth.uncached_tokens(endpoint, request))
        mine = (new, request.prompt_tokens - new, output)
        count, context = len(decoding), sum(held for held, _ in decoding)
        step = truth.step_seconds(endpoint, (), count, context, 0)
        before = self._work(endpoint, backlog, count, context)
        after = self._work(endpoint, [*backlog, mine], count, context)
        wait = max(before.seconds, self._wait_steps(endpoint, backlog, decoding, mine) * step)
        ttft = truth.step_left_seconds(endpoint) + wait + after.seconds - before.seconds
        if not (self.decode or self.others):
            return Delay(ttft, 0.0, 0.0)
        # Those that will decode beside this request, and how many tokens each has still to give then.
        beside = [(held + after.steps, left - after.steps) for held, left in decoding if left > after.steps]
        beside += [(fresh + earlier, left - 1) for fresh, earlier, left in backlog if left > 1]
        # While this prompt is computed their tokens come in longer steps.
        stall = max(0.0, after.seconds - before.seconds - (after.steps - before.steps) * step)
        decode, slowed = self._decode(endpoint, mine, beside)
        return Delay(ttft, decode, stall * len(beside) + slowed)

    def _work(
        self, endpoint: Endpoint, prompts: list[tuple[int, int, int]], decoding: int, context: int
    ) -> _Work:
        """Return how long *prompts* take in steps of equal size, beside so many decoding sequences."""
        tokens = sum(new for new, _, _ in prompts)
        if not tokens:
            return _Work(0.0, 0)
        steps = -(-tokens // max(1, self.setting.max_num_batched_tokens - decoding))
        # Attention grows with new x (new + 2 x earlier) however a prompt is cut; one chunk that costs a step's share stands for all.
        pairs = sum(new * (new + 2 * earlier) for new, earlier, _ in prompts)
        size = -(-tokens // steps)
        earlier = max(0, round((pairs / steps / size - size) / 2))
        finished = -(-len(prompts) // steps)
        seconds = self.setting.truth.step_seconds(endpoint, ((size, earlier),), decoding, context, finished)
        return _Work(steps * seconds, steps)

    def _wait_steps(
        self,
        endpoint: Endpoint,
        backlog: list[tuple[int, int, int]],
        decoding: list[tuple[int, int]],
        mine: tuple[int, int, int],
    ) -> int:
        """Return how many steps until enough sequences have ended to let this one in: memory and seats."""
        seats = len(backlog) + len(decoding) + 1 - self.setting.max_num_seqs
        # What is cached here may be held by others already or not: half of it is taken to need memory.
        needed = sum(new for new, _, _ in backlog) + mine[0] + mine[1] // 2
        needed -= self.setting.truth.free_tokens(endpoint)
        if seats <= 0 and needed <= 0:
            return 0
        ends = sorted((left, held + left) for held, left in decoding)
        ends += [(left, new + earlier + left) for new, earlier, left in backlog]
        steps = 0
        for left, freed in ends:
            if seats <= 0 and needed <= 0:
                break
            steps, seats, needed = max(steps, left), seats - 1, needed - freed
        return steps

    def _decode(
        self, endpoint: Endpoint, mine: tuple[int, int, int], beside: list[tuple[int, int]]
    ) -> tuple[float, float]:
        """Return how long this request decodes beside the others, and how much longer they take for it, summed."""
        steps = mine[2] - 1
        if steps <= 0:
            return 0.0, 0.0
        shared = tokens = 0.0
        for held, left in beside:
            common = min(left, steps)
            shared += common
            tokens += common * (held + common / 2)
        count, context = round(shared / steps), round(tokens / steps)
        own = mine[0] + mine[1] + steps // 2
        seconds = self.setting.truth.step_seconds
        each_step = seconds(endpoint, (), count + 1, context + own, 0)
        if not shared:
            return steps * each_step, 0.0
        # Even the one that is there for a moment decodes; a step without any would not do as what to compare with.
        others = max(1, count)
        slower = seconds(endpoint, (), others + 1, context + own, 0) - seconds(
            endpoint, (), others, context, 0
        )
        return steps * each_step, shared * max(0.0, slower)
