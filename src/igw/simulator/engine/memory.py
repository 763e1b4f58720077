"""What each sequence holds of the KV memory: finding its prefix, growing, naming what is full, giving back.

Who gets memory first, and who has to give some back, is decided in `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from igw.simulator.engine.blocks import KvBlocks, Naming
from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.events import KvEvent, Stored
from igw.simulator.engine.sequence import Progress
from igw.simulator.engine.shared import SharedTier


class Memory:
    """`KvBlocks` as the sequences use it; counts in tokens what was looked for and what was found."""

    def __init__(
        self,
        config: EngineConfig,
        events: Callable[[KvEvent], None] | None,
        shared: SharedTier | None = None,
    ) -> None:
        self.blocks = KvBlocks(config.num_gpu_blocks, config.cpu_blocks, events)
        self.queries = self.hits = self.external_queries = self.external_hits = 0
        self._events = events
        self._size = config.block_size
        self._tiers = config.cpu_blocks > 0 or shared is not None
        self._cpu_seconds = config.cpu_load_seconds_per_block
        self._shared = shared
        self._shared_seconds = (config.shared_load_seconds, config.shared_load_seconds_per_block)

    def start(self, progress: Progress) -> float | None:
        """Give *progress*, which holds nothing, the blocks of its prefix that are found here.

        If more of it is found on the CPU or on another server, it gets blocks for all it knows, and the seconds are
        returned after which `arrive` is due; 0 when there is nothing to wait for. None when there is not enough memory.
        """
        size, hashes, blocks, known = self._size, progress.hashes, self.blocks, progress.known
        # The last token is always computed: its output is what the next one is sampled from.
        limit, wanted = (known - 1) // size, -(-known // size)
        if progress.stuck >= 0 and self._still_stuck(progress, limit, wanted):
            return None
        hits, idle = blocks.lookup(hashes, limit)
        # As vLLM's scheduler_reserve_full_isl: all that is known must fit, not only the first chunk.
        if wanted - hits + idle > blocks.free:
            progress.stuck = hits
            return None
        progress.stuck = -1
        reach, seconds = self._elsewhere(progress, hits, limit)
        blocks.share(hashes[:hits])
        progress.blocks = progress.named = hits
        progress.computed = hits * size
        if progress.cached < 0:
            self._count(progress, hits * size, reach)
        if reach > progress.computed:
            blocks.take(wanted - hits)
            progress.blocks, progress.reach, progress.remote = wanted, reach, 0
            if not seconds:
                self.arrive(progress)
        return seconds

    def arrive(self, progress: Progress) -> None:
        """Count what was loaded as computed; it can be found from now on (vLLM delays it just so)."""
        progress.computed = progress.reach
        self._name(progress, progress.computed // self._size)

    def missing(self, progress: Progress, tokens: int) -> int:
        """Return how many blocks *progress* lacks to compute its next `tokens`."""
        return max(0, -(-(progress.computed + tokens) // self._size) - progress.blocks)

    def grow(self, progress: Progress, tokens: int) -> None:
        """Give *progress* what it lacks for its next `tokens`; ValueError when there is not so much.

        As in vLLM, blocks can be found from the step that fills them on: requests of the same step share them.
        """
        missing = self.missing(progress, tokens)
        if missing:
            self.blocks.take(missing)
            progress.blocks += missing
        self._name(progress, (progress.computed + tokens) // self._size)

    def grow_together(self, growing: Mapping[Progress, None], filling: Mapping[Progress, None]) -> bool:
        """Let decoding sequences take or name a block; False, and nothing was done, when their order matters.

        It does when there is not enough for all, and when one would name a block that another would evict.
        """
        blocks = self.blocks
        if len(growing) > blocks.free:
            return False
        named = [each for each in filling if each.named < len(each.hashes)]
        names = [each.hashes[each.named] for each in named]
        fresh = not names or blocks.name_new(names)
        if growing:
            if not fresh and blocks.any_idle(names):
                return False
            blocks.take(len(growing))
            for each in growing:
                each.blocks += 1
        namings = [] if fresh else blocks.name_all(names)
        for each in named:
            each.named += 1
        if self._shared is not None:
            self._shared.store(names)
        if namings or self._events:
            self._note(named, namings)
        return True

    def name_next(self, progress: Progress) -> None:
        """Name the next block of *progress*, which is full now, if it has a hash."""
        self._name(progress, progress.named + 1)

    def free(self, progress: Progress, first: int = 0) -> None:
        """Give back all blocks from number `first` on."""
        names = progress.hashes[first : progress.named]
        if progress.copies:
            names = tuple(name for place, name in enumerate(names, first) if place not in progress.copies)
            progress.copies = {place for place in progress.copies if place < first}
        self.blocks.release(names, progress.blocks - first - len(names))
        progress.blocks, progress.named = first, min(first, progress.named)

    def _still_stuck(self, progress: Progress, limit: int, wanted: int) -> bool:
        """Spare the look-up of a prompt that waits for memory: it cannot find more than last time."""
        found = progress.stuck
        extended = found < min(limit, len(progress.hashes)) and self.blocks.has(progress.hashes[found])
        return wanted - found > self.blocks.free and not extended

    def _elsewhere(self, progress: Progress, hits: int, limit: int) -> tuple[int, float]:
        """Return up to which token the prefix can be loaded, CPU, shared tier and other servers in turn, and how long it takes."""
        names = progress.hashes[hits : hits + self.blocks.cpu_lookup(progress.hashes, hits, limit)]
        self.blocks.cpu_touch(names)
        reach = (hits + len(names)) * self._size
        seconds = len(names) * self._cpu_seconds
        if self._shared is not None:
            start = hits + len(names)
            loaded = self._shared.lookup(progress.hashes, start, limit)
            if loaded:
                self._shared.store(progress.hashes[: start + loaded])
                reach += loaded * self._size
                seconds += self._shared_seconds[0] + loaded * self._shared_seconds[1]
        if progress.remote > reach:
            seconds += progress.sequence.load_seconds * (progress.remote - reach) / progress.remote
            reach = progress.remote
        return reach, seconds

    def _count(self, progress: Progress, found: int, reach: int) -> None:
        prompt = progress.sequence.prompt_tokens
        progress.cached = reach
        self.queries += prompt
        self.hits += found
        if self._tiers or progress.remote:
            self.external_queries += prompt - found
            self.external_hits += reach - found

    def _name(self, progress: Progress, full: int) -> None:
        start = progress.named
        names = progress.hashes[start:full]
        if not names:
            return
        progress.named = start + len(names)
        namings = self.blocks.name_all(names)
        if self._shared is not None:
            self._shared.store(names)
        if namings:
            progress.copies.update(place for place, naming in enumerate(namings, start) if naming == "copy")
        if self._events:
            # One event for each run of new names.
            begin = 0
            for place in [*(place for place, naming in enumerate(namings) if naming != "new"), len(names)]:
                if place > begin:
                    self._events(Stored(progress.sequence, start + begin, names[begin:place], "GPU"))
                begin = place + 1

    def _note(self, named: Sequence[Progress], namings: Sequence[Naming]) -> None:
        """Remember the copies among blocks that got their names, one of each sequence; tell of the others."""
        for each, naming in zip(named, namings or ["new"] * len(named), strict=True):
            place = each.named - 1
            if naming == "copy":
                each.copies.add(place)
            elif naming == "new" and self._events:
                self._events(Stored(each.sequence, place, (each.hashes[place],), "GPU"))
