"""The engine once more, the plain way: every step walks every sequence, every count is made anew from lists.

Tests hold the real engine against it. Slow on purpose, and nothing here is shared with the real one but its values.
"""

from __future__ import annotations

from igw.simulator.engine.config import EngineConfig, Statistics
from igw.simulator.engine.sequence import Emission, Sequence


class Work:
    """One sequence; `held` has the name of each of its blocks, None for those without one."""

    def __init__(self, sequence: Sequence, hashes: tuple[int, ...], now: float, key: tuple[int, int]) -> None:
        self.sequence, self.hashes, self.since, self.key = sequence, hashes, now, key
        self.held: list[int | None] = []
        self.computed = self.generated = self.emitted = self.preemptions = 0
        self.cached, self.queued = -1, -1.0
        self.remote = min(sequence.remote_tokens, sequence.prompt_tokens - 1)
        self.ready_at = 0.0
        self.named = self.reach = 0

    @property
    def known(self) -> int:
        """Prompt and what was generated."""
        return self.sequence.prompt_tokens + self.generated


class Reference:
    """The same moves as `Engine`; `begin_step` returns the duration and what each sequence computes."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.waiting: list[Work] = []
        self.loading: list[Work] = []
        self.loaded: list[Work] = []
        self.running: list[Work] = []
        self.held: dict[str, Work] = {}
        self.gpu: list[int] = []  # every name in memory, the least recently used first
        self.cpu: list[int] = []
        self.adapters: list[str] = []  # loaded ones, the least recently used first
        self.chunks: list[tuple[Work, int]] = []
        self.asleep = False
        self.submitted = self.preemptions = 0
        self.counts = dict.fromkeys(["queries", "hits", "far_queries", "far_hits", "prompt", "cached"], 0)
        self.counts |= dict.fromkeys(["generated", "stop", "length", "abort"], 0)

    # Memory.

    def holders(self) -> list[Work]:
        """Return everybody who has blocks."""
        return [*self.running, *self.loading, *self.loaded, *self.held.values()]

    def in_use(self) -> set[int]:
        """Return the names somebody holds."""
        return {name for work in self.holders() for name in work.held if name is not None}

    def free(self) -> int:
        """Count the blocks nobody holds."""
        unnamed = sum(work.held.count(None) for work in self.holders())
        return self.config.num_gpu_blocks - unnamed - len(self.in_use())

    def take(self, work: Work, count: int) -> None:
        """Give `count` blocks without a name, evicting when no blank one is left."""
        for _ in range(count):
            idle = [name for name in self.gpu if name not in self.in_use()]
            if self.free() == len(idle):
                self.gpu.remove(idle[0])
                if self.config.cpu_blocks:
                    if idle[0] in self.cpu:
                        self.cpu.remove(idle[0])
                    self.cpu = [*self.cpu, idle[0]][-self.config.cpu_blocks :]
            work.held.append(None)

    def name(self, work: Work, full: int) -> None:
        """Name full blocks unless somebody holds their name."""
        while work.named < min(full, len(work.hashes)):
            name = work.hashes[work.named]
            if name not in self.in_use():
                if name in self.gpu:
                    self.gpu.remove(name)
                self.gpu.append(name)
                work.held[work.named] = name
            work.named += 1

    def give_back(self, work: Work, first: int = 0) -> None:
        """Free blocks from `first` on; what is free last is evicted last."""
        rest, work.held = work.held[first:], work.held[:first]
        for name in reversed(rest):
            if name is not None and name not in self.in_use():
                self.gpu.remove(name)
                self.gpu.append(name)
        work.named = min(work.named, first)

    # Moves.

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue *sequence*."""
        self.submitted += 1
        priority = sequence.priority if self.config.scheduling_policy == "priority" else 0
        hashes = sequence.block_hashes if self.config.enable_prefix_caching else ()
        self.waiting.append(Work(sequence, hashes, now, (priority, self.submitted)))

    def abort(self, name: str) -> bool:
        """Forget a sequence."""
        for room in (self.waiting, self.loading, self.loaded, self.running):
            for work in room:
                if work.sequence.id == name:
                    room.remove(work)
                    self.give_back(work)
                    self.counts["abort"] += 1
                    return True
        return self.release(name)

    def release(self, name: str) -> bool:
        """Free what is held."""
        work = self.held.pop(name, None)
        if work:
            self.give_back(work)
        return work is not None

    def reset_prefix_cache(self) -> bool:
        """Forget the names."""
        if self.free() < self.config.num_gpu_blocks:
            return False
        self.gpu, self.cpu = [], []
        return True

    def sleep(self) -> None:
        """Lose everything."""
        if self.asleep:
            return
        self.asleep = True
        for work in reversed(list(self.running)):
            self.preempt(work)
        for work in [*self.loading, *self.loaded]:
            work.held, work.named, work.cached, work.computed = [], 0, -1, 0
            self.waiting.append(work)
        self.loading, self.loaded, self.held = [], [], {}
        self.gpu, self.cpu = [], []

    def wake(self) -> None:
        """Go on."""
        self.asleep = False

    def preempt(self, work: Work) -> None:
        """Send a running sequence back."""
        self.running.remove(work)
        self.give_back(work)
        work.computed = 0
        work.preemptions += 1
        self.preemptions += 1
        if self.config.scheduling_policy == "fcfs":
            work.key = (-1, -self.preemptions)
        self.waiting.append(work)

    # A step.

    def begin_step(self, now: float) -> tuple[float, dict[str, int]] | None:
        """Compose a step."""
        if self.asleep:
            return None
        for work in sorted(self.loading, key=lambda each: (each.ready_at, each.key)):
            if work.ready_at <= now:
                self.loading.remove(work)
                self.loaded.append(work)
                self.arrive(work)
        while True:
            before, self.chunks = self.preemptions, []
            self.walk_running()
            loads = 0 if self.preemptions > before else self.admit(now)
            if self.chunks:
                return self.price(loads), {work.sequence.id: tokens for work, tokens in self.chunks}
            if self.preemptions == before:
                return None

    def walk_running(self) -> None:
        """Let those that run go on, as in vLLM's `schedule`."""
        index, budget = 0, self.config.max_num_batched_tokens
        while index < len(self.running) and budget:
            work = self.running[index]
            tokens = min(work.known - work.computed, budget)
            missing = -(-(work.computed + tokens) // self.config.block_size) - len(work.held)
            while self.free() < missing:
                victim = self.running[-1]
                if self.config.scheduling_policy == "priority":
                    victim = max(self.running, key=lambda each: each.key)
                for chunk in self.chunks:
                    if chunk[0] is victim:
                        self.chunks.remove(chunk)
                        budget += chunk[1]
                        index -= 1
                        break
                self.preempt(victim)
                if victim is work:
                    return
            self.compute(work, tokens)
            budget -= tokens
            index += 1

    def compute(self, work: Work, tokens: int) -> None:
        """Schedule a chunk."""
        size = self.config.block_size
        self.take(work, max(0, -(-(work.computed + tokens) // size) - len(work.held)))
        self.name(work, (work.computed + tokens) // size)
        self.chunks.append((work, tokens))

    def admit(self, now: float) -> int:
        """Let the waiting in; return how many adapters are loaded for that."""
        loads = 0
        while len(self.running) < self.config.max_num_seqs:
            budget = self.config.max_num_batched_tokens - sum(tokens for _, tokens in self.chunks)
            users = {work.sequence.adapter for work in self.running} - {None}
            work = next((work for work in self.queue() if self.has_slot(work, users)), None)
            if work is None or not budget:
                break
            if work in self.waiting:
                if not self.start(work, now):
                    break
                self.waiting.remove(work)
                if work in self.loading:
                    continue
            else:
                self.loaded.remove(work)
            self.running.append(work)
            if work.queued < 0:
                work.queued = now - work.since
            loads += self.use(work.sequence.adapter, users)
            self.compute(work, min(work.known - work.computed, budget))
        return loads

    def queue(self) -> list[Work]:
        """Return who waits, in order."""
        return sorted(self.loaded, key=lambda each: each.key) + sorted(
            self.waiting, key=lambda each: each.key
        )

    def has_slot(self, work: Work, users: set[str | None]) -> bool:
        """Return whether its adapter may run."""
        adapter = work.sequence.adapter
        return adapter is None or adapter in users or len(users) < self.config.max_loras

    def use(self, adapter: str | None, users: set[str | None]) -> int:
        """Return 1 when the adapter has to be loaded."""
        if adapter is None:
            return 0
        known = adapter in self.adapters
        if known:
            self.adapters.remove(adapter)
        elif len(self.adapters) == self.config.max_loras:
            self.adapters.remove(next(each for each in self.adapters if each not in users))
        self.adapters.append(adapter)
        return int(not known)

    def start(self, work: Work, now: float) -> bool:
        """Give a waiting sequence its prefix; False when it does not fit."""
        size, hashes, config = self.config.block_size, work.hashes, self.config
        limit, wanted = min(len(hashes), (work.known - 1) // size), -(-work.known // size)
        hits = 0
        while hits < limit and hashes[hits] in self.gpu:
            hits += 1
        far = hits
        while far < limit and hashes[far] in self.cpu:
            far += 1
        shared = set(hashes[:hits]) & self.in_use()
        if wanted - len(shared) > self.free():
            return False
        for name in reversed(hashes[hits:far]):
            self.cpu.remove(name)
            self.cpu.append(name)
        seconds = (far - hits) * config.cpu_load_seconds_per_block
        reach = far * size
        remote = work.remote
        if remote > reach:
            seconds += work.sequence.load_seconds * (remote - reach) / remote
            reach = remote
        work.held, work.named, work.computed = list(hashes[:hits]), hits, hits * size
        if work.cached < 0:
            work.cached = reach
            self.counts["queries"] += work.sequence.prompt_tokens
            self.counts["hits"] += hits * size
            if config.cpu_blocks or remote:
                self.counts["far_queries"] += work.sequence.prompt_tokens - hits * size
                self.counts["far_hits"] += reach - hits * size
        if reach > hits * size:
            self.loading.append(work)
            self.take(work, wanted - hits)
            work.remote, work.reach, work.ready_at = 0, reach, now + seconds
            if not seconds:
                self.arrive(work)
                self.loading.remove(work)
        return True

    def arrive(self, work: Work) -> None:
        """What was loaded counts as computed."""
        work.computed = work.reach
        self.name(work, work.computed // self.config.block_size)

    def price(self, loads: int) -> float:
        """Return the duration of the step."""
        prefill, decodes, kv_tokens, finished = [], 0, 0, 0
        for work, tokens in self.chunks:
            if work.generated and work.known - work.computed == 1:
                decodes += 1
                kv_tokens += work.known
            else:
                prefill.append((tokens, work.computed))
                finished += work.computed + tokens == work.known
        seconds = self.config.step_time.seconds(prefill, decodes, kv_tokens, finished)
        extra = 0.0
        for _ in range(loads):
            extra += self.config.lora_load_seconds
        return extra + seconds

    def finish_step(self) -> list[Emission]:
        """Account for the step."""
        emissions = []
        for work, tokens in self.chunks:
            if work not in self.running:
                continue
            work.computed += tokens
            if work.computed < work.known:
                continue
            if not work.generated:
                self.counts["prompt"] += work.sequence.prompt_tokens
                self.counts["cached"] += work.cached
            work.generated += 1
            self.counts["generated"] += 1
            last = work.generated == work.sequence.output_tokens
            if work.sequence.stream or work.generated == 1 or last:
                new, work.emitted = work.generated - work.emitted, work.generated
                emissions.append(
                    Emission(work.sequence, new, work.generated, work.cached, work.queued, work.preemptions)
                )
            if last:
                self.end(work)
        self.chunks = []
        return emissions

    def end(self, work: Work) -> None:
        """Finish a sequence."""
        self.running.remove(work)
        self.counts[work.sequence.finish_reason] += 1
        kept = 0
        if work.sequence.hold:
            self.held[work.sequence.id] = work
            kept = -(-work.sequence.prompt_tokens // self.config.block_size)
        self.give_back(work, kept)

    def unfinished(self) -> list[tuple[str, int, int]]:
        """Return who is here, how many tokens are computed after the step under way, and how many are known."""
        found = []
        for work in [*self.running, *self.loading, *self.loaded, *self.waiting]:
            amid = sum(tokens for each, tokens in self.chunks if each is work and work in self.running)
            found.append((work.sequence.id, work.computed + amid, work.known))
        return found

    def statistics(self) -> Statistics:
        """Count everything."""
        users = {work.sequence.adapter for work in self.running if work.sequence.adapter}
        waiting = [*self.waiting, *self.loading, *self.loaded]
        blocked = [work for work in self.waiting + self.loaded if not self.has_slot(work, {*users})]
        cpu = self.config.cpu_blocks
        return Statistics(
            running=len(self.running),
            waiting=len(waiting),
            kv_usage=1 - self.free() / self.config.num_gpu_blocks,
            prefix_queries_tokens=self.counts["queries"],
            prefix_hits_tokens=self.counts["hits"],
            preemptions=self.preemptions,
            prompt_tokens=self.counts["prompt"],
            prompt_tokens_cached=self.counts["cached"],
            generation_tokens=self.counts["generated"],
            finished_stop=self.counts["stop"],
            finished_length=self.counts["length"],
            aborted=self.counts["abort"],
            waiting_deferred=len(blocked) + len(self.loading),
            running_adapters=tuple(sorted(users)),
            waiting_adapters=tuple(
                sorted({work.sequence.adapter for work in waiting if work.sequence.adapter})
            ),
            cpu_usage=len(self.cpu) / cpu if cpu else 0.0,
            external_queries_tokens=self.counts["far_queries"],
            external_hits_tokens=self.counts["far_hits"],
            asleep=self.asleep,
        )
