"""The engines behind one listener: one, or several data-parallel ranks that sequences are spread over as vLLM does.

What an engine does is in the room `engine`; ranks with a port each are servers of their own, see `fleet`.
"""

from __future__ import annotations

from collections.abc import Iterator

from igw.simulator.driver import Driver, Inbox
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Sequence
from igw.simulator.metrics.histograms import Histograms

_WAITING_WEIGHT = 4
"""vLLM's `DPLBAsyncMPClient` counts a waiting sequence as four running ones."""


class EngineRank:
    """One engine with what drives it and what is measured of it; `number` is its data-parallel rank."""

    def __init__(self, number: int, engine: Engine, histograms: Histograms, driver: Driver) -> None:
        self.number = number
        self.engine = engine
        self.histograms = histograms
        self.driver = driver

    @property
    def load(self) -> int:
        """What vLLM compares ranks by."""
        now = self.engine.statistics()
        return now.waiting * _WAITING_WEIGHT + now.running


class Ranks:
    """All engines of one server; takes sequences as a driver does and gives each to the rank with the least load."""

    def __init__(self, ranks: list[EngineRank]) -> None:
        self._ranks = ranks
        self._driver_of: dict[str, Driver] = {}

    def __iter__(self) -> Iterator[EngineRank]:
        return iter(self._ranks)

    def __getitem__(self, position: int) -> EngineRank:
        return self._ranks[position]

    def chosen(self, header: str | None) -> Driver | Ranks:
        """Return what runs the sequences of a request with this `X-data-parallel-rank`; ValueError out of range.

        As in vLLM a header that is no number is ignored.
        """
        if header is None or not header.strip().isdecimal():
            return self if len(self._ranks) > 1 else self._ranks[0].driver
        for rank in self._ranks:
            if rank.number == int(header):
                return rank.driver
        first, last = self._ranks[0].number, self._ranks[-1].number
        raise ValueError(f"data_parallel_rank {int(header)} is out of range [{first}, {last + 1}).")

    def submit(self, sequence: Sequence, inbox: Inbox, arrived: float) -> None:
        """Queue *sequence* at the rank with the least load, the lowest among equals; otherwise as `Driver.submit`."""
        driver = min(self._ranks, key=lambda rank: rank.load).driver
        driver.submit(sequence, inbox, arrived)
        self._driver_of[sequence.id] = driver

    def abort(self, sequence_id: str) -> None:
        """Free what the sequence holds; every submitted one must be aborted, whether or not it has ended."""
        if driver := self._driver_of.pop(sequence_id, None):
            driver.abort(sequence_id)

    def release(self, sequence_id: str) -> None:
        """Free the blocks that a sequence left behind for another server, at whichever rank it ran."""
        for rank in self._ranks:
            if rank.engine.release(sequence_id):
                rank.driver.look_again()

    def reset_prefix_cache(self) -> bool:
        """Forget every name at every rank; False when one of them could not."""
        done = [rank.engine.reset_prefix_cache() for rank in self._ranks]
        return all(done)

    def sleep(self) -> None:
        """Let every engine sleep."""
        for rank in self._ranks:
            rank.engine.sleep()

    def wake(self) -> None:
        """Let every engine go on."""
        for rank in self._ranks:
            rank.engine.wake()
            rank.driver.look_again()

    async def idle(self) -> None:
        """Wait until no engine has anything to do."""
        for rank in self._ranks:
            await rank.driver.idle.wait()
