"""A vLLM V1 scheduler for one server, step by step: no I/O and no clock, so it runs in real or virtual time.

Tokens themselves do not belong here: a sequence is two lengths and the hashes of its full blocks.
"""

from __future__ import annotations

from collections import deque

import msgspec

from igw.simulator.engine.blocks import KvBlocks
from igw.simulator.engine.sequence import Emission, Progress, Sequence, Step
from igw.simulator.hardware.calibration import StepTime


class EngineConfig(msgspec.Struct, frozen=True):
    """Sizes of one engine, named as vLLM names its flags."""

    step_time: StepTime
    num_gpu_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 131_072

    def __post_init__(self) -> None:
        for name in ("num_gpu_blocks", "block_size", "max_num_seqs", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({self.max_num_seqs})"
            )

    @property
    def max_sequence_tokens(self) -> int:
        """Longest prompt and output together: the model's length or the whole KV memory, whichever is less."""
        return min(self.max_model_len, self.num_gpu_blocks * self.block_size)


class Statistics(msgspec.Struct, frozen=True):
    """The engine at one instant; counters rise from its start, as vLLM's do."""

    running: int
    waiting: int
    kv_usage: float
    prefix_queries_tokens: int
    prefix_hits_tokens: int
    preemptions: int
    prompt_tokens: int
    prompt_tokens_cached: int
    generation_tokens: int
    finished_stop: int
    finished_length: int
    aborted: int


class Engine:
    """Admits, runs, preempts and finishes sequences; at most one step at a time is under way."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.blocks = KvBlocks(config.num_gpu_blocks)
        self._waiting: deque[Progress] = deque()
        self._running: list[Progress] = []
        self._by_id: dict[str, Progress] = {}
        self._step: Step | None = None
        self._queries = self._hits = self._preemptions = 0
        self._prompt = self._prompt_cached = self._generated = 0
        self._finished = {"stop": 0, "length": 0, "abort": 0}

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue *sequence*; ValueError when it can never run here or its id is in use."""
        if sequence.id in self._by_id:
            raise ValueError(f"sequence {sequence.id!r} is under way already")
        if sequence.prompt_tokens < 1 or sequence.output_tokens < 1:
            raise ValueError("a sequence needs at least one prompt token and one output token")
        total, limit = sequence.prompt_tokens + sequence.output_tokens, self.config.max_sequence_tokens
        if total > limit:
            raise ValueError(
                f"This model's maximum context length is {limit} tokens. However, your request has "
                f"{sequence.prompt_tokens} input tokens and asks for {sequence.output_tokens} output tokens "
                f"({total} in all). Please reduce either."
            )
        progress = Progress(sequence, now)
        self._by_id[sequence.id] = progress
        self._waiting.append(progress)

    def abort(self, sequence_id: str) -> bool:
        """Forget a sequence and free what it holds at once; False when it is not (or no longer) here."""
        progress = self._by_id.get(sequence_id)
        if progress is None:
            return False
        self._leave(progress)
        self._finished["abort"] += 1
        return True

    def begin_step(self, now: float) -> Step | None:
        """Compose the next step, decodes before prefills; None when there is nothing to do."""
        if self._step is not None:
            raise RuntimeError("the previous step was not finished")
        step = Step(self.config.max_num_batched_tokens)
        preemptions = self._preemptions
        self._continue_running(step)
        if self._preemptions == preemptions:
            self._admit_waiting(step, now)
        if not step.chunks:
            return None
        step.duration_seconds = self.config.step_time.seconds(
            step.prefill, step.decode_sequences, step.decode_kv_tokens, step.finished_prefills
        )
        self._step = step
        return step

    def finish_step(self, step: Step) -> list[Emission]:
        """Account for *step* and return what it produced, in the order of admission."""
        if step is not self._step:
            raise RuntimeError("this step is not the one under way")
        self._step = None
        emissions = []
        for progress, tokens in step.chunks:
            if not progress.live:  # aborted while the step ran
                continue
            progress.computed += tokens
            if progress.computed == progress.known:
                emissions.append(self._sample(progress))
        return emissions

    def statistics(self) -> Statistics:
        """Return the state and the counters of this instant."""
        return Statistics(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_usage=1 - self.blocks.free / self.blocks.count,
            prefix_queries_tokens=self._queries,
            prefix_hits_tokens=self._hits,
            preemptions=self._preemptions,
            prompt_tokens=self._prompt,
            prompt_tokens_cached=self._prompt_cached,
            generation_tokens=self._generated,
            finished_stop=self._finished["stop"],
            finished_length=self._finished["length"],
            aborted=self._finished["abort"],
        )

    def _continue_running(self, step: Step) -> None:
        # Only the last running sequence can be amid its prompt: nobody is admitted behind one that used up the budget.
        index = 0
        while index < len(self._running) and step.budget:
            progress = self._running[index]
            tokens = min(progress.known - progress.computed, step.budget)
            if not self._make_room(progress, self._missing_blocks(progress, tokens)):
                return
            self._grow(progress, tokens)
            step.add(progress, tokens)
            index += 1

    def _make_room(self, progress: Progress, blocks: int) -> bool:
        while self.blocks.free < blocks:
            # Whoever came last has no chunk in this step yet: the list is walked from its head.
            victim = self._running.pop()
            self.blocks.release(victim.held)
            victim.held, victim.named, victim.computed = [], 0, 0
            self._waiting.appendleft(victim)
            self._preemptions += 1
            if victim is progress:
                return False
        return True

    def _admit_waiting(self, step: Step, now: float) -> None:
        while self._waiting and step.budget and len(self._running) < self.config.max_num_seqs:
            progress = self._waiting[0]
            size, hashes = self.config.block_size, progress.sequence.block_hashes
            # The last token is always computed: its output is what the next one is sampled from.
            hits = self.blocks.cached_prefix(hashes, (progress.known - 1) // size)
            prefix = hashes[:hits]
            # As vLLM's scheduler_reserve_full_isl: all that is known must fit, not only the first chunk.
            if -(-progress.known // size) - hits + self.blocks.idle_among(prefix) > self.blocks.free:
                return
            self._waiting.popleft()
            self._running.append(progress)
            self.blocks.share(prefix)
            progress.held, progress.named, progress.computed = list(prefix), hits, hits * size
            if progress.queued_seconds < 0:
                progress.queued_seconds = now - progress.since
                progress.cached = progress.computed
                self._queries += progress.sequence.prompt_tokens
                self._hits += progress.computed
            tokens = min(progress.known - progress.computed, step.budget)
            self._grow(progress, tokens)
            step.add(progress, tokens)

    def _missing_blocks(self, progress: Progress, tokens: int) -> int:
        return -(-(progress.computed + tokens) // self.config.block_size) - len(progress.held)

    def _grow(self, progress: Progress, tokens: int) -> None:
        missing = self._missing_blocks(progress, tokens)
        if missing > 0:
            self.blocks.take(missing)
            progress.held.extend([None] * missing)
        full = (progress.computed + tokens) // self.config.block_size
        # As in vLLM, blocks can be found from the step that fills them on: requests of the same step share them.
        while progress.named < min(full, len(progress.sequence.block_hashes)):
            name = progress.sequence.block_hashes[progress.named]
            if self.blocks.name(name):
                progress.held[progress.named] = name
            progress.named += 1

    def _sample(self, progress: Progress) -> Emission:
        sequence = progress.sequence
        if not progress.generated:
            self._prompt += sequence.prompt_tokens
            self._prompt_cached += progress.cached
        progress.generated += 1
        self._generated += 1
        emission = Emission(sequence, 1, progress.generated, progress.cached, progress.queued_seconds)
        if emission.reason:
            self._leave(progress)
            self._finished[emission.reason] += 1
        return emission

    def _leave(self, progress: Progress) -> None:
        progress.live = False
        del self._by_id[progress.sequence.id]
        self.blocks.release(progress.held)
        if progress in self._running:
            self._running.remove(progress)
        else:
            self._waiting.remove(progress)
