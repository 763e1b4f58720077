"""Rounds in which every flow may take a quantum of work: what deficit round robin and DLPM have in common."""

from __future__ import annotations

import math

from igw.flow.flows import Flow, Held


class Rounds:
    """What each flow may still take in its round. Debts are paid by sitting out rounds, so nobody has to be visited meanwhile."""

    moves_with_time = False
    leaves_room = True

    def __init__(self, quantum_tokens: float, output_weight: float, lookahead: int = 0) -> None:
        self.lookahead = lookahead
        self._quantum = quantum_tokens
        self._output_weight = output_weight
        self._round = 0
        self._last = 0

    def key(self, flow: Flow, _head: Held, _now: float, /) -> tuple[float, ...]:
        """Take the earliest round, and in it the order of turns."""
        return (flow.round, flow.turn)

    def joined(self, flow: Flow, _now: float, /) -> None:
        """Begin in the current round with one quantum: what was left of earlier ones is gone, debts are not."""
        if flow.round < self._round or flow.turn == 0:
            flow.round, flow.deficit = self._round, self._quantum * flow.weight
            self._to_the_end(flow)

    def cost(self, _prompt_tokens: float, uncached_tokens: float, output_tokens: float, /) -> float:
        """Charge for work: what was cached is free."""
        return uncached_tokens + self._output_weight * output_tokens

    def dispatched(self, flow: Flow, cost: float, now: float, /) -> None:
        """Take it from the deficit; whoever is through waits for the next round."""
        self._round = max(self._round, flow.round)
        self.corrected(flow, cost, now)

    def corrected(self, flow: Flow, more: float, _now: float, /) -> None:
        """Take what was not foreseen, or give back."""
        quantum = self._quantum * flow.weight
        flow.deficit -= more
        if flow.deficit <= 0:
            rounds = math.floor(-flow.deficit / quantum) + 1
            flow.deficit += rounds * quantum
            flow.round = max(flow.round, self._round) + rounds
            self._to_the_end(flow)
        elif flow.deficit > quantum:
            # A pay-back may shorten a debt, but it never becomes credit beyond the quantum.
            rounds = min(math.ceil(flow.deficit / quantum) - 1, max(0, flow.round - self._round))
            flow.round -= rounds
            flow.deficit = min(flow.deficit - rounds * quantum, quantum)

    def _to_the_end(self, flow: Flow) -> None:
        self._last += 1
        flow.turn = self._last
