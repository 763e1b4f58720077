"""The sequences that decode: each computes one token in every step, yet a step does not touch each of them.

All move in step, so what a sequence needs follows from when it joined. Memory and emissions are the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter

from igw.simulator.engine.sequence import Progress

_TICKET = attrgetter("ticket")


class Decoding:
    """Decoding sequences in the order of their tickets, with the sum of their known tokens.

    Whether a sequence begins or fills a block depends on its computed tokens modulo the block size. Steps and computed
    tokens rise together, so their difference, the phase, stays, and a step looks at two phases only.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._phases: list[dict[Progress, None]] = [{} for _ in range(block_size)]
        self._ends: dict[int, list[Progress]] = {}
        self._streams: dict[Progress, None] = {}
        self._paused: list[Progress] = []
        self._steps = 0
        self.members: dict[Progress, None] = {}
        """Those that compute a token in the next step, or in the one under way."""
        self.kv_tokens = 0
        """Known tokens of all members together."""

    def __len__(self) -> int:
        return len(self.members) + len(self._paused)

    def __iter__(self) -> Iterator[Progress]:
        """Yield everybody, those that sit a step out at the end."""
        return chain(self.members, self._paused)

    def known(self) -> Iterator[tuple[Progress, int]]:
        """Yield everybody with the tokens known now."""
        for progress in self.members:
            yield progress, progress.known + self._steps - progress.joined
        for progress in self._paused:
            yield progress, progress.known

    def last(self) -> Progress:
        """Return who was admitted last."""
        return next(reversed(self.members))

    def join(self, progress: Progress) -> None:
        """Let *progress*, which knows just one token that is not computed, decode from the next step on."""
        progress.state = "decoding"
        progress.joined = self._steps
        progress.phase = (progress.computed - self._steps) % self._block_size
        progress.end = self._steps + progress.sequence.output_tokens - progress.generated - 1
        self.members[progress] = None
        self._phases[progress.phase][progress] = None
        self._ends.setdefault(progress.end, []).append(progress)
        if progress.sequence.stream:
            self._streams[progress] = None
        self.kv_tokens += progress.known

    def leave(self, progress: Progress) -> None:
        """Take *progress* out and write down in it how far it is."""
        if progress not in self.members:
            self._paused.remove(progress)
            return
        ending = self._ends[progress.end]
        ending.remove(progress)
        if not ending:
            del self._ends[progress.end]
        self._take_out(progress)

    def growing(self) -> Mapping[Progress, None]:
        """Return those whose next token is the first of a new block."""
        return self._phases[-self._steps % self._block_size]

    def filling(self) -> Mapping[Progress, None]:
        """Return those whose next token is the last of its block."""
        return self._phases[(-self._steps - 1) % self._block_size]

    def pause_after(self, ticket: int) -> None:
        """Leave those behind `ticket` out of the next step."""
        for progress in [each for each in self.members if each.ticket > ticket]:
            self.leave(progress)
            self._paused.append(progress)

    def advance(self) -> list[tuple[Progress, int]]:
        """Count one step. Return, in order, who is to be told of which token; those at their end are out already."""
        self._steps += 1
        self.kv_tokens += len(self.members)
        told = [(each, each.generated + self._steps - each.joined) for each in self._streams]
        ended = self._ends.pop(self._steps - 1, None)
        if ended:
            for progress in ended:
                self._take_out(progress)
                if not progress.sequence.stream:
                    told.append((progress, progress.generated))
            told.sort(key=lambda pair: pair[0].ticket)
        if self._paused:
            self.resume()
        return told

    def _take_out(self, progress: Progress) -> None:
        progress.generated += self._steps - progress.joined
        progress.computed = progress.known - 1
        self.kv_tokens -= progress.known
        del self.members[progress]
        del self._phases[progress.phase][progress]
        self._streams.pop(progress, None)

    def resume(self) -> None:
        """Let those in again that sat out; everybody joins anew because the order of the tickets has to be kept."""
        everybody = sorted([*self.members, *self._paused], key=_TICKET)
        for progress in list(self.members):
            self.leave(progress)
        self._paused.clear()
        for progress in everybody:
            self.join(progress)
