"""The scheduler: laws for any traffic, and transcripts of small scenarios in virtual time."""

from __future__ import annotations

from array import array
from typing import TypeAlias
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.simulator.engine.blocks import block_hashes
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Emission, Sequence, Step
from igw.simulator.hardware.calibration import StepTime

STEP_TIME = StepTime.load()
Submission: TypeAlias = tuple[str, list[int], int]


def config(**sizes: int) -> EngineConfig:
    """A small engine: blocks of 4 tokens, 64 of them, steps of 16 tokens for at most 4 sequences."""
    plain = {"num_gpu_blocks": 64, "block_size": 4, "max_num_seqs": 4, "max_num_batched_tokens": 16}
    return EngineConfig(step_time=STEP_TIME, **(plain | sizes))


def generated(name: str, output: int) -> list[int]:
    """Tokens nobody else has."""
    return [crc32(f"{name} {index}".encode()) for index in range(output)]


def sequence(name: str, prompt: list[int], output: int, block_size: int = 4) -> Sequence:
    """A sequence whose generated tokens are its own."""
    hashes = block_hashes("m", array("I", prompt + generated(name, output)), block_size)
    return Sequence(name, len(prompt), output, hashes)


class Watch:
    """Runs an engine and checks after every move what must always hold."""

    def __init__(self, settings: EngineConfig) -> None:
        self.config = settings
        self.engine = Engine(settings)
        self.now = 0.0
        self.submitted: dict[str, Sequence] = {}
        self.ended: dict[str, str] = {}
        self.tokens: dict[str, list[int]] = {}
        self.scheduled: dict[str, int] = {}
        self.computed: set[int] = set()
        self.cached: dict[str, int] = {}

    def submit(self, each: Sequence) -> None:
        """Submit and remember."""
        self.engine.submit(each, self.now)
        self.submitted[each.id] = each
        self.tokens[each.id] = []
        self.scheduled[each.id] = 0
        self.check()

    def abort(self, name: str) -> None:
        """Abort, which tells whether the sequence was under way."""
        live = name in self.submitted and name not in self.ended
        assert self.engine.abort(name) is live
        if live:
            self.ended[name] = "abort"
        self.check()

    def begin(self) -> Step | None:
        """Begin a step and note what it computes."""
        step = self.engine.begin_step(self.now)
        for progress, tokens in step.chunks if step else ():
            self.scheduled[progress.sequence.id] += tokens
            reach = (progress.computed + tokens) // self.config.block_size
            self.computed.update(progress.sequence.block_hashes[:reach])
        if step:
            assert 0 < sum(tokens for _, tokens in step.chunks) <= self.config.max_num_batched_tokens
            assert step.duration_seconds > 0
        self.check()
        return step

    def finish(self, step: Step) -> list[Emission]:
        """Finish a step and note what came out."""
        self.now += step.duration_seconds
        emissions = self.engine.finish_step(step)
        for emission in emissions:
            name = emission.sequence.id
            assert name not in self.ended
            self.tokens[name].append(emission.total_tokens)
            self.cached[name] = emission.cached_tokens
            if emission.reason:
                self.ended[name] = emission.reason
        self.check()
        return emissions

    def step(self) -> list[Emission]:
        """Begin and finish one step."""
        step = self.begin()
        return self.finish(step) if step else []

    def run_dry(self) -> None:
        """Step until nothing is left to do."""
        for _ in range(2000):
            step = self.begin()
            if step is None:
                return
            self.finish(step)
        pytest.fail("still busy after 2,000 steps")

    def check(self) -> None:
        """Recount the blocks from who holds them."""
        engine, blocks = self.engine, self.engine.blocks
        held = [block for progress in engine._running for block in progress.held]
        used = held.count(None) + len({block for block in held if block is not None})
        assert used == blocks.count - blocks.free
        assert 0 <= blocks.cached <= blocks.free <= blocks.count
        for progress in engine._running:
            assert progress.computed <= len(progress.held) * self.config.block_size
        for progress in engine._waiting:
            assert not progress.held
        now = engine.statistics()
        assert now.running <= self.config.max_num_seqs
        assert now.running + now.waiting == len(self.submitted) - len(self.ended)
        assert 0 <= now.kv_usage <= 1


SIZES = st.fixed_dictionaries(
    {
        "num_gpu_blocks": st.integers(4, 12),
        "max_num_seqs": st.integers(1, 4),
        "max_num_batched_tokens": st.integers(4, 24),
    }
)
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=12)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), PROMPTS, st.integers(1, 4)),
        st.tuples(st.just("step"), st.just([0]), st.just(0)),
        st.tuples(st.just("abort"), st.just([0]), st.integers(0, 8)),
        st.tuples(st.just("abort amid a step"), st.just([0]), st.integers(0, 8)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(SIZES, MOVES)
def test_whatever_happens_every_sequence_is_answered_once_and_no_block_is_lost(
    sizes: dict[str, int], moves: list[Submission]
) -> None:
    """Random submits, steps and aborts, then steps until all is quiet."""
    watch = Watch(config(**sizes))
    for move, prompt, number in moves:
        if move == "submit":
            watch.submit(sequence(str(len(watch.submitted)), prompt, number))
        elif move == "abort":
            watch.abort(str(number))
        elif move == "step":
            watch.step()
        elif step := watch.begin():
            watch.abort(str(number))
            watch.finish(step)
    watch.run_dry()
    assert set(watch.ended) == set(watch.submitted)
    assert watch.engine.blocks.free == watch.engine.blocks.count
    for name, reason in watch.ended.items():
        expected = list(range(1, watch.submitted[name].output_tokens + 1))
        tokens = watch.tokens[name]
        assert tokens == (expected if reason != "abort" else expected[: len(tokens)])
    _check_statistics(watch)


def _check_statistics(watch: Watch) -> None:
    now = watch.engine.statistics()
    assert now.generation_tokens == sum(map(len, watch.tokens.values()))
    assert now.aborted == list(watch.ended.values()).count("abort")
    assert now.finished_length == list(watch.ended.values()).count("length")
    assert now.prefix_hits_tokens <= now.prefix_queries_tokens
    if now.preemptions == 0:
        for name, reason in watch.ended.items():
            if reason == "abort":
                continue
            # Every token but the last generated one goes through the model exactly once, unless it was cached.
            each = watch.submitted[name]
            wanted = each.prompt_tokens - watch.cached[name] + each.output_tokens - 1
            assert watch.scheduled[name] == wanted


@settings(deadline=None)
@given(SIZES, st.lists(st.tuples(PROMPTS, st.integers(1, 4), st.integers(0, 2)), max_size=12))
def test_a_cached_prefix_never_exceeds_what_was_computed(
    sizes: dict[str, int], arrivals: list[tuple[list[int], int, int]]
) -> None:
    """Every block a sequence skips was in a step before, or is in the very one that admits it; never its whole prompt."""
    watch = Watch(config(**sizes))
    for number, (prompt, output, steps) in enumerate(arrivals):
        watch.submit(sequence(str(number), prompt, output))
        for _ in range(steps):
            watch.step()
    watch.run_dry()
    for name, cached in watch.cached.items():
        each = watch.submitted[name]
        assert cached < each.prompt_tokens
        assert watch.computed.issuperset(each.block_hashes[: cached // 4])


def transcript(watch: Watch, steps: int) -> list[str]:
    """One line a step: what each sequence computed, and after an arrow who got a token (! when its last)."""
    lines = []
    for _ in range(steps):
        step = watch.begin()
        if step is None:
            lines.append("idle")
            continue
        work = " ".join(f"{progress.sequence.id}{tokens}" for progress, tokens in step.chunks)
        out = " ".join(each.sequence.id + ("!" if each.reason else "") for each in watch.finish(step))
        lines.append(f"{work} > {out}".strip())
    return lines


def test_a_long_prompt_is_prefilled_in_chunks_behind_the_decodes() -> None:
    """The decode goes first; the rest of the 16 tokens is prompt, then the next prompt gets what is left."""
    watch = Watch(config())
    watch.submit(sequence("a", [1, 2], 4))
    assert transcript(watch, 1) == ["a2 > a"]
    watch.submit(sequence("b", list(range(20)), 2))
    watch.submit(sequence("c", [7] * 8, 1))
    assert transcript(watch, 4) == ["a1 b15 > a", "a1 b5 c8 > a b c!", "a1 b1 > a! b!", "idle"]


def test_the_batch_holds_at_most_max_num_seqs() -> None:
    """The third waits for a slot, not for memory."""
    watch = Watch(config(max_num_seqs=2))
    for name in "abc":
        watch.submit(sequence(name, [ord(name)], 2))
    assert transcript(watch, 4) == ["a1 b1 > a b", "a1 b1 > a! b!", "c1 > c", "c1 > c!"]
    assert watch.engine.statistics().waiting == 0


def test_the_last_admitted_is_preempted_and_computes_its_tokens_again() -> None:
    """Four blocks for two sequences that need three each: `b` gives way, then finds its own first block cached."""
    watch = Watch(config(num_gpu_blocks=4))
    watch.submit(sequence("a", [1] * 7, 4))
    watch.submit(sequence("b", [2] * 7, 4))
    assert transcript(watch, 7) == [
        "a7 b7 > a b",
        "a1 b1 > a b",
        "a1 > a",  # `a` needs a third block: `b` is preempted and nobody is admitted in that step
        "a1 > a!",
        "b5 > b",  # 9 tokens known, 4 of them still cached
        "b1 > b!",
        "idle",
    ]
    assert watch.engine.statistics().preemptions == 1
    assert watch.tokens["b"] == [1, 2, 3, 4]


def test_a_preempted_sequence_goes_before_those_that_never_ran() -> None:
    """It was there first."""
    watch = Watch(config(num_gpu_blocks=4))
    watch.submit(sequence("a", [1] * 7, 4))
    watch.submit(sequence("b", [2] * 7, 4))
    transcript(watch, 2)
    watch.submit(sequence("c", [3], 1))
    assert transcript(watch, 3) == ["a1 > a", "a1 > a!", "b5 c1 > b c!"]


def test_a_prompt_is_admitted_only_when_all_of_it_fits() -> None:
    """As with scheduler_reserve_full_isl in vLLM: otherwise its first chunk would run only to be preempted."""
    watch = Watch(config(num_gpu_blocks=6, max_num_batched_tokens=8))
    watch.submit(sequence("a", [1] * 8, 5))
    watch.submit(sequence("b", [2] * 20, 1))
    assert transcript(watch, 5) == ["a8 > a", "a1 > a", "a1 > a", "a1 > a", "a1 > a!"]
    assert transcript(watch, 3) == ["b8 >", "b8 >", "b4 > b!"]


def test_the_second_turn_computes_only_what_is_new() -> None:
    """Prompt and answer of the first turn are found by full blocks, generated tokens included."""
    watch = Watch(config())
    watch.submit(sequence("a", list(range(10)), 6))
    assert transcript(watch, 6)[0] == "a10 > a"
    watch.submit(sequence("b", [*range(10), *generated("a", 6), 1, 2, 3], 1))
    # 16 tokens were known, 15 of them computed: three full blocks of four.
    assert transcript(watch, 1) == ["b7 > b!"]
    assert watch.cached["b"] == 12


def test_a_prompt_that_is_cached_entirely_still_computes_its_last_block() -> None:
    """At least one token has to go through the model, and hits come in whole blocks."""
    watch = Watch(config())
    for name in "ab":
        watch.submit(sequence(name, list(range(8)), 1))
        watch.step()
    assert watch.cached == {"a": 0, "b": 4}


def test_requests_of_one_step_share_a_prefix_as_in_vllm() -> None:
    """The second of two equal prompts pays only for its last block."""
    watch = Watch(config())
    for name in "ab":
        watch.submit(sequence(name, list(range(8)), 1))
    assert transcript(watch, 1) == ["a8 b4 > a! b!"]
    assert watch.engine.statistics().prefix_hits_tokens == 4


def test_sequences_without_hashes_run_uncached() -> None:
    """For replays that know lengths only."""
    watch = Watch(config())
    for name in "ab":
        watch.submit(Sequence(name, 8, 2))
        watch.step()
        watch.step()
    assert watch.cached == {"a": 0, "b": 0}


def test_an_abort_frees_slot_and_memory_at_once_even_amid_a_step() -> None:
    """The next in line is in the very next step."""
    watch = Watch(config(max_num_seqs=1))
    watch.submit(sequence("a", [1] * 8, 50))
    watch.submit(sequence("b", [2] * 8, 1))
    step = watch.begin()
    assert step is not None
    watch.abort("a")
    assert watch.engine.statistics().kv_usage == 0
    assert watch.finish(step) == []
    assert transcript(watch, 1) == ["b8 > b!"]


def test_time_spent_waiting_is_told_with_the_answer() -> None:
    """From submit to the first step that takes the sequence in."""
    watch = Watch(config(max_num_seqs=1))
    watch.submit(sequence("a", [1], 1))
    watch.submit(sequence("b", [2], 1))
    first, second = watch.step()[0], watch.step()[0]
    assert first.queued_seconds == 0
    assert second.queued_seconds == pytest.approx(STEP_TIME.seconds([(1, 0)], 0, 0, 1))


@pytest.mark.parametrize(
    ("each", "problem"),
    [
        (Sequence("x", 250, 7), "maximum context length is 256 tokens.*250 input tokens.*7 output"),
        (Sequence("x", 0, 1), "at least one prompt token"),
        (Sequence("x", 1, 0), "one output token"),
        (Sequence("taken", 1, 1), "'taken' is under way already"),
    ],
)
def test_what_can_never_run_is_refused_at_submit(each: Sequence, problem: str) -> None:
    """64 blocks of 4 tokens: the whole memory is the limit when the model's length is more."""
    engine = Engine(config())
    engine.submit(Sequence("taken", 1, 1), 0.0)
    with pytest.raises(ValueError, match=problem):
        engine.submit(each, 0.0)
    assert engine.statistics().waiting == 1


def test_steps_do_not_overlap() -> None:
    """Begin and finish alternate."""
    engine = Engine(config())
    engine.submit(Sequence("a", 1, 2), 0.0)
    step = engine.begin_step(0.0)
    assert step is not None
    with pytest.raises(RuntimeError, match="not finished"):
        engine.begin_step(0.0)
    engine.finish_step(step)
    with pytest.raises(RuntimeError, match="not the one under way"):
        engine.finish_step(step)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
        ({"max_num_seqs": 17}, r"\(16\) must be at least"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes: dict[str, int], problem: str) -> None:
    """As vLLM refuses them when it starts."""
    with pytest.raises(ValueError, match=problem):
        config(**sizes)
