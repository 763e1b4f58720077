"""A vLLM V1 scheduler for one server, step by step: no I/O and no clock, so it runs in real or virtual time.

Tokens themselves do not belong here: a sequence is two lengths and the hashes of its full blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import chain

from igw.simulator.engine.config import EngineConfig, Statistics
from igw.simulator.engine.decoding import Decoding
from igw.simulator.engine.events import KvEvent
from igw.simulator.engine.memory import Memory
from igw.simulator.engine.sequence import Emission, Progress, Sequence, Step
from igw.simulator.engine.shared import SharedTier
from igw.simulator.engine.waiting import AdapterSlots, Waiting

__all__ = ["Engine", "EngineConfig", "Statistics"]


class Engine:
    """Admits, runs, preempts and finishes sequences; at most one step at a time is under way.

    `events` is told of every change of the names in memory, at the moment it happens; not of those in the tier that it shares with others.
    """

    def __init__(
        self,
        config: EngineConfig,
        events: Callable[[KvEvent], None] | None = None,
        shared: SharedTier | None = None,
    ) -> None:
        self.config = config
        self._memory = Memory(config, events, shared)
        self.blocks = self._memory.blocks
        self._asleep = False
        self._step: Step | None = None
        self._by_id: dict[str, Progress] = {}
        self._held: dict[str, Progress] = {}
        self._waiting = Waiting()
        self._loading: list[
            tuple[float, tuple[int, int], Progress]
        ] = []  # a heap, the next to be ready first
        self._loaded = Waiting()  # they wait like the others but have their memory already
        self._prefilling: list[Progress] = []  # between two steps at most one, who was admitted last
        self._decoding = Decoding(config.block_size)
        self._adapters = AdapterSlots(config.max_loras)
        self._submitted = self._admitted = 0
        self._preemptions = self._prompt = self._prompt_cached = self._generated = 0
        self._finished = {"stop": 0, "length": 0, "abort": 0}

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue *sequence*; ValueError when it can never run here or its id is in use."""
        config = self.config
        if sequence.id in self._by_id or sequence.id in self._held:
            raise ValueError(f"sequence {sequence.id!r} is under way already")
        if sequence.prompt_tokens < 1 or sequence.output_tokens < 1:
            raise ValueError("a sequence needs at least one prompt token and one output token")
        if sequence.adapter is not None and not config.max_loras:
            raise ValueError(f"adapter {sequence.adapter!r} cannot run here: max_loras is 0")
        total, limit = sequence.prompt_tokens + sequence.output_tokens, config.max_sequence_tokens
        if total > limit:
            raise ValueError(
                f"This model's maximum context length is {limit} tokens. However, your request has "
                f"{sequence.prompt_tokens} input tokens and asks for {sequence.output_tokens} output tokens "
                f"({total} in all). Please reduce either."
            )
        self._submitted += 1
        priority = sequence.priority if config.scheduling_policy == "priority" else 0
        hashes = sequence.block_hashes if config.enable_prefix_caching else ()
        progress = Progress(sequence, hashes, now, (priority, self._submitted))
        self._by_id[sequence.id] = progress
        self._waiting.add(progress)

    def abort(self, sequence_id: str) -> bool:
        """Forget a sequence and free what it holds at once, even after its end; False when it is not here."""
        progress = self._by_id.get(sequence_id)
        if progress is None:
            return self.release(sequence_id)
        self._take_out(progress)
        self._end(progress, "abort")
        self._memory.free(progress)
        return True

    def release(self, sequence_id: str) -> bool:
        """Free the blocks that a sequence with `hold` left behind; False when there are none."""
        progress = self._held.pop(sequence_id, None)
        if progress is None:
            return False
        self._memory.free(progress)
        return True

    def begin_step(self, now: float) -> Step | None:
        """Compose the next step, decodes before prefills; None when there is nothing to do.

        None does not always mean that nobody is here: `wake_at` may tell a time, and a `release` may make room.
        """
        if self._step is not None:
            raise RuntimeError("the previous step was not finished")
        if self._asleep:
            return None
        if self._loading and self._loading[0][0] <= now:
            self._end_loading(now)
        while True:
            preemptions = self._preemptions
            step = self._compose(now)
            if step.chunks or step.decode_sequences:
                break
            if self._preemptions == preemptions:
                return None
            # Whoever could have run gave way; now others can.
            self._decoding.resume()
        step.duration_seconds = step.extra_seconds + self.config.step_time.seconds(
            step.prefill, step.decode_sequences, step.decode_kv_tokens, step.finished_prefills
        )
        self._step = step
        return step

    def finish_step(self, step: Step) -> list[Emission]:
        """Account for *step* and return what it produced, in the order of admission."""
        if step is not self._step:
            raise RuntimeError("this step is not the one under way")
        self._step = None
        emissions: list[Emission] = []
        if self._decoding:
            self._generated += len(self._decoding.members)
            for progress, total in self._decoding.advance():
                emissions.append(progress.emission(total))
                if total == progress.sequence.output_tokens:
                    self._finish(progress)
        for progress, tokens in step.chunks:
            if not progress.scheduled:  # aborted or put to sleep while the step ran
                continue
            progress.scheduled = False
            progress.computed += tokens
            if progress.computed == progress.known:
                self._prefilling.remove(progress)
                self._sample(progress, emissions)
        return emissions

    def wake_at(self) -> float | None:
        """Return when the next of those that wait for their keys and values can go on; None when nobody does."""
        return self._loading[0][0] if self._loading else None

    def reset_prefix_cache(self) -> bool:
        """Forget every name; as in vLLM nothing happens, and False is returned, while blocks are in use."""
        if self.blocks.free < self.blocks.count:
            return False
        self.blocks.clear()
        return True

    def sleep(self) -> None:
        """Discard all keys and values and begin no step until `wake`; what was running is computed again then.

        So is what was loaded from elsewhere or on its way. What was held for other servers is lost.
        """
        if self._asleep:
            return
        self._asleep = True
        for progress in sorted(self._running(), key=lambda each: each.ticket, reverse=True):
            self._preempt(progress)
        for progress in [*self._loaded, *(each for _, _, each in self._loading)]:
            self._take_out(progress)
            self._memory.free(progress)
            progress.computed, progress.cached = 0, -1
            progress.state = "waiting"
            self._waiting.add(progress)
        for name in list(self._held):
            self.release(name)
        self.blocks.clear()

    def wake(self) -> None:
        """Go on after `sleep`."""
        self._asleep = False

    def statistics(self) -> Statistics:
        """Return the state and the counters of this instant."""
        slots, memory, blocks = self._adapters, self._memory, self.blocks
        adapters = self._waiting.adapters | self._loaded.adapters
        adapters |= {each.sequence.adapter for _, _, each in self._loading if each.sequence.adapter}
        deferred = self._waiting.deferred(slots) + self._loaded.deferred(slots) + len(self._loading)
        return Statistics(
            running=len(self._decoding) + len(self._prefilling),
            waiting=len(self._waiting) + len(self._loaded) + len(self._loading),
            kv_usage=1 - blocks.free / blocks.count,
            prefix_queries_tokens=memory.queries,
            prefix_hits_tokens=memory.hits,
            preemptions=self._preemptions,
            prompt_tokens=self._prompt,
            prompt_tokens_cached=self._prompt_cached,
            generation_tokens=self._generated,
            finished_stop=self._finished["stop"],
            finished_length=self._finished["length"],
            aborted=self._finished["abort"],
            waiting_deferred=deferred,
            running_adapters=tuple(sorted(slots.users)),
            waiting_adapters=tuple(sorted(adapters)),
            cpu_usage=blocks.cpu_usage,
            external_queries_tokens=memory.external_queries,
            external_hits_tokens=memory.external_hits,
            asleep=self._asleep,
        )

    def unfinished(self) -> Iterator[tuple[Sequence, int, int]]:
        """Yield `(sequence, computed, known)` tokens of all that is here: who runs, in order, then who waits, in order.

        What the step under way computes counts as computed; of those that wait nothing is before they have their memory.
        """
        chunks = {each: tokens for each, tokens in self._step.chunks if each.scheduled} if self._step else {}
        for progress, known in self._decoding.known():
            amid = self._step is not None and progress in self._decoding.members
            yield progress.sequence, known if amid else known - 1, known
        waiting = sorted(chain(self._loaded, self._waiting), key=lambda each: each.key)
        for progress in chain(self._prefilling, (each for _, _, each in self._loading), waiting):
            yield progress.sequence, progress.computed + chunks.get(progress, 0), progress.known

    def _running(self) -> chain[Progress]:
        return chain(self._decoding, self._prefilling)

    def _compose(self, now: float) -> Step:
        decoding, most, preemptions = self._decoding, self.config.max_num_batched_tokens, self._preemptions
        fed = self._feed_decodes() if decoding.members else True
        chunk = self._next_chunk(most - len(decoding.members)) if fed and self._prefilling else None
        step = Step(most, len(decoding.members), decoding.kv_tokens)
        if chunk:
            step.add(*chunk)
        # As in vLLM, nobody is admitted in a step that had to preempt.
        if (self._waiting or self._loaded) and self._preemptions == preemptions:
            self._admit(step, now)
        return step

    def _feed_decodes(self) -> bool:
        """Give every decoding sequence the block it needs, preempting for it; False when some must sit this step out."""
        decoding, memory = self._decoding, self._memory
        growing, filling = decoding.growing(), decoding.filling()
        if memory.grow_together(growing, filling):
            return True
        growing, filling = dict(growing), dict(filling)
        for progress in sorted({**growing, **filling}, key=lambda each: each.ticket):
            if progress not in decoding.members:  # preempted for one before it
                continue
            if progress in growing:
                if not self._make_room(progress, 1):
                    # With priorities it need not be the last. vLLM schedules nobody behind it either.
                    decoding.pause_after(progress.ticket)
                    return False
                self.blocks.take(1)
                progress.blocks += 1
            if progress in filling:
                memory.name_next(progress)
        return True

    def _next_chunk(self, budget: int) -> tuple[Progress, int] | None:
        """Let the one sequence amid its prompt go on, or be preempted.

        There is one at most: nobody is admitted behind one that used up the budget.
        """
        (progress,) = self._prefilling
        tokens = min(progress.known - progress.computed, budget)
        if not self._make_room(progress, self._memory.missing(progress, tokens)):
            return None
        self._memory.grow(progress, tokens)
        progress.scheduled = True
        return progress, tokens

    def _make_room(self, progress: Progress, blocks: int) -> bool:
        """Preempt until so many blocks are free; False when *progress* itself had to give way."""
        while self.blocks.free < blocks:
            victim = self._last_running()
            self._preempt(victim)
            if victim is progress:
                return False
        return True

    def _last_running(self) -> Progress:
        if self.config.scheduling_policy == "priority":
            return max(self._running(), key=lambda each: each.key)
        return self._prefilling[-1] if self._prefilling else self._decoding.last()

    def _preempt(self, progress: Progress) -> None:
        """Take all memory of a running sequence; it waits before everybody who never ran, and computes it all again."""
        self._take_out(progress)
        self._memory.free(progress)
        self._preemptions += 1
        progress.preemptions += 1
        progress.computed = 0
        progress.state = "waiting"
        if self.config.scheduling_policy == "fcfs":
            progress.key = (-1, -self._preemptions)
        self._waiting.add(progress)

    def _admit(self, step: Step, now: float) -> None:
        slots, most = self._adapters, self.config.max_num_seqs
        while step.budget and len(self._decoding) + len(self._prefilling) < most:
            # Who has memory goes first, as in vLLM; else the next one might wait for the memory it holds.
            progress = self._loaded.first(slots) or self._waiting.first(slots)
            if progress is None:
                return
            if progress.state == "waiting":
                seconds = self._memory.start(progress)
                if seconds is None:
                    return
                if seconds:
                    self._waiting.remove(progress)
                    progress.state = "loading"
                    heappush(self._loading, (now + seconds, progress.key, progress))
                    continue
            self._take_out(progress)
            self._run(progress, step, now)

    def _run(self, progress: Progress, step: Step, now: float) -> None:
        self._admitted += 1
        progress.ticket = self._admitted
        progress.state = "prefilling"
        self._prefilling.append(progress)
        adapter = progress.sequence.adapter
        if adapter is not None and self._adapters.enter(adapter):
            step.extra_seconds += self.config.lora_load_seconds
        if progress.queued_seconds < 0:
            progress.queued_seconds = now - progress.since
        tokens = min(progress.known - progress.computed, step.budget)
        self._memory.grow(progress, tokens)
        progress.scheduled = True
        step.add(progress, tokens)

    def _end_loading(self, now: float) -> None:
        while self._loading and self._loading[0][0] <= now:
            _, _, progress = heappop(self._loading)
            self._memory.arrive(progress)
            progress.state = "loaded"
            self._loaded.add(progress)

    def _sample(self, progress: Progress, emissions: list[Emission]) -> None:
        """Let *progress*, all of whose known tokens are computed, generate one more."""
        sequence = progress.sequence
        if not progress.generated:
            self._prompt += sequence.prompt_tokens
            self._prompt_cached += progress.cached
        progress.generated += 1
        self._generated += 1
        last = progress.generated == sequence.output_tokens
        if sequence.stream or last or progress.generated == 1:
            emissions.append(progress.emission(progress.generated))
        if last:
            self._finish(progress)
        else:
            self._decoding.join(progress)

    def _finish(self, progress: Progress) -> None:
        """End a sequence that is in no list any more."""
        sequence = progress.sequence
        self._leave_adapter(progress)
        self._end(progress, sequence.finish_reason)
        kept = 0
        if sequence.hold:
            self._held[sequence.id] = progress
            kept = -(-sequence.prompt_tokens // self.config.block_size)
        self._memory.free(progress, kept)

    def _end(self, progress: Progress, reason: str) -> None:
        del self._by_id[progress.sequence.id]
        progress.state = "ended"
        self._finished[reason] += 1

    def _take_out(self, progress: Progress) -> None:
        """Take *progress* from where it waits or runs; what it holds stays."""
        match progress.state:
            case "waiting":
                self._waiting.remove(progress)
            case "loading":
                self._loading = [entry for entry in self._loading if entry[2] is not progress]
                heapify(self._loading)
            case "loaded":
                self._loaded.remove(progress)
            case "prefilling":
                self._prefilling.remove(progress)
                progress.scheduled = False
                self._leave_adapter(progress)
            case "decoding":
                self._decoding.leave(progress)
                self._leave_adapter(progress)

    def _leave_adapter(self, progress: Progress) -> None:
        if progress.sequence.adapter is not None:
            self._adapters.leave(progress.sequence.adapter)
