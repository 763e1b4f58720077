"""The engine against its plain twin: the same emissions, durations, memory and statistics, whatever happens."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from igw.simulator.engine.blocks import block_hashes
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.events import Cleared, KvEvent, Stored
from igw.simulator.engine.sequence import Sequence, Step
from igw.simulator.hardware.calibration import StepTime
from tests.simulator.engine.reference import Reference

STEP_TIME = StepTime.load()

CONFIGS = st.fixed_dictionaries(
    {
        "num_gpu_blocks": st.integers(4, 14),
        "block_size": st.integers(1, 4),
        "max_num_seqs": st.integers(1, 5),
        "max_num_batched_tokens": st.integers(5, 24),
        "scheduling_policy": st.sampled_from(["fcfs", "priority"]),
        "max_loras": st.integers(1, 2),
        "lora_load_seconds": st.sampled_from([0.0, 0.25]),
        "cpu_blocks": st.sampled_from([0, 0, 2, 5]),
        "cpu_load_seconds_per_block": st.sampled_from([0.0, 0.001, 0.01]),
        "enable_prefix_caching": st.sampled_from([True, True, True, False]),
    }
)
SEQUENCES = st.fixed_dictionaries(
    {
        # Prompts and answers of zeros and ones: many prefixes are shared, also with what others generate.
        "tokens": st.lists(st.integers(0, 1), min_size=2, max_size=20),
        "output_tokens": st.integers(1, 12),
        "finish_reason": st.sampled_from(["stop", "length"]),
        "stream": st.booleans(),
        "priority": st.integers(-1, 1),
        "adapter": st.sampled_from([None, None, "x", "y", "z"]),
        "remote_tokens": st.sampled_from([0, 0, 3, 9]),
        "load_seconds": st.sampled_from([0.0, 0.004, 0.1]),
        "hold": st.sampled_from([False, False, True]),
    }
)
NAMES = st.integers(0, 12).map(str)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), SEQUENCES),
        st.tuples(st.just("submit"), SEQUENCES),
        st.tuples(st.just("step"), st.none()),
        st.tuples(st.just("step"), st.none()),
        st.tuples(st.just("steps"), st.integers(2, 12)),
        st.tuples(st.just("abort"), NAMES),
        st.tuples(st.just("release"), NAMES),
        st.tuples(st.sampled_from(["sleep", "wake", "reset", "wait", "restart"]), st.none()),
        # The same amid a step, as they come from clients in real time.
        st.tuples(st.just("step with abort"), NAMES),
        st.tuples(st.just("step with submit"), SEQUENCES),
        st.tuples(st.just("step with sleep"), st.none()),
    ),
    min_size=10,
    max_size=60,
)


class Twins:
    """Both engines, moved alike and compared after every move."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.gpu: set[int] = set()
        self.cpu: set[int] = set()
        self.engine = Engine(config, self.note)
        self.reference = Reference(config)
        self.now = 100.0
        self.submitted: dict[str, Sequence] = {}
        self.ended: dict[str, str] = {}
        self.told: dict[str, int] = {}

    def note(self, event: KvEvent) -> None:
        """Replay an event into sets, each of which has to change by exactly what the event says."""
        if isinstance(event, Cleared):
            self.gpu.clear()
            self.cpu.clear()
            return
        tier = self.gpu if event.medium == "GPU" else self.cpu
        names = set(event.hashes)
        assert len(names) == len(event.hashes) > 0
        if isinstance(event, Stored):
            assert names.isdisjoint(tier)
            tier |= names
            if event.sequence is not None:
                first = event.first_block
                assert event.sequence.block_hashes[first : first + len(names)] == event.hashes
        else:
            assert names <= tier
            tier -= names

    def submit(self, tokens: list[int], output_tokens: int, **rest: Any) -> None:
        """Submit to both what fits at all."""
        prompt = array("I", tokens[: max(1, len(tokens) // 2)])
        answer = array("I", [number % 2 for number in range(output_tokens)])
        hashes = block_hashes("m", prompt + answer, self.config.block_size)
        each = Sequence(str(len(self.submitted)), len(prompt), output_tokens, hashes, **rest)
        if len(prompt) + output_tokens > self.config.max_sequence_tokens:
            return
        self.submitted[each.id] = each
        self.engine.submit(each, self.now)
        self.reference.submit(each, self.now)

    def end(self, name: str, move: str) -> None:
        """Abort or release in both."""
        expected = getattr(self.reference, move)(name)
        assert getattr(self.engine, move)(name) is expected
        if expected and name not in self.ended:
            self.ended[name] = "abort"

    def step(self, amid: Callable[[], None] | None = None) -> bool:
        """Make one step; False when there is none."""
        step = self.engine.begin_step(self.now)
        expected = self.reference.begin_step(self.now)
        assert (step is None) is (expected is None)
        self.compare()
        if step is None or expected is None:
            return False
        seconds, chunks = expected
        assert step.duration_seconds == seconds
        assert {each.sequence.id: tokens for each, tokens in self.chunks(step)} == chunks
        assert step.tokens == sum(chunks.values()) <= self.config.max_num_batched_tokens
        if amid:
            amid()
            self.compare()
        self.now += seconds
        emissions = self.engine.finish_step(step)
        assert emissions == self.reference.finish_step()
        for each in emissions:
            name = each.sequence.id
            assert name not in self.ended
            assert each.total_tokens == self.told.get(name, 0) + each.new_tokens
            self.told[name] = each.total_tokens
            if each.reason:
                self.ended[name] = each.reason
        self.compare()
        return True

    def chunks(self, step: Step) -> list[tuple[Any, int]]:
        """Return who computes how much, the decodes being those of the engine."""
        return [(each, 1) for each in self.engine._decoding.members] + step.chunks

    def sleep(self) -> None:
        """Put both to sleep."""
        self.engine.sleep()
        self.reference.sleep()

    def wake(self) -> None:
        """Wake both."""
        self.engine.wake()
        self.reference.wake()

    def wait(self) -> None:
        """Let the time pass that somebody waits for."""
        ready = self.engine.wake_at()
        loading = self.reference.loading
        assert ready == (min(each.ready_at for each in loading) if loading else None)
        if ready is not None:
            self.now = max(self.now, ready)

    def compare(self) -> None:
        """Hold one against the other, and the events against both."""
        assert self.engine.statistics() == self.reference.statistics()
        assert self.engine.blocks.free == self.reference.free()
        assert (self.gpu, self.cpu) == (set(self.reference.gpu), set(self.reference.cpu))
        assert self.engine.blocks.names() == (self.gpu, self.cpu)
        assert sorted(
            (each.id, computed, known) for each, computed, known in self.engine.unfinished()
        ) == sorted(self.reference.unfinished())
        now = self.engine.statistics()
        assert now.running <= self.config.max_num_seqs
        assert now.running + now.waiting == len(self.submitted) - len(self.ended)
        assert len(now.running_adapters) <= self.config.max_loras

    def move(self, kind: str, argument: Any) -> None:
        """Make one move of those above."""
        name = kind.removeprefix("step with ")
        if name == kind:
            self.act(name, argument)
        else:
            self.step(lambda: self.act(name, argument))
        self.compare()

    def act(self, name: str, argument: Any) -> None:
        """Do what *name* says to both."""
        match name:
            case "submit":
                self.submit(**argument)
            case "abort" | "release":
                self.end(argument, name)
            case "steps":
                for _ in range(argument):
                    self.step()
            case _:
                getattr(self, name)()

    def restart(self) -> None:
        """Replace both by new ones: what was under way is lost, and so is what was in memory."""
        self.ended |= {name: "restart" for name in self.submitted if name not in self.ended}
        self.gpu.clear()
        self.cpu.clear()
        self.engine, self.reference = Engine(self.config, self.note), Reference(self.config)

    def reset(self) -> None:
        """Reset the prefix cache of both."""
        assert self.engine.reset_prefix_cache() is self.reference.reset_prefix_cache()

    def drain(self) -> None:
        """Run until nobody is left."""
        self.wake()
        for _ in range(3000):
            if self.step():
                continue
            if self.engine.wake_at() is not None:
                self.wait()
                continue
            if not self.reference.held:
                break
            self.end(next(iter(self.reference.held)), "release")
        assert set(self.ended) == set(self.submitted)
        assert self.engine.blocks.free == self.engine.blocks.count


@settings(deadline=None, max_examples=400)
@given(CONFIGS, MOVES)
def test_the_engine_does_what_the_plain_one_does(sizes: dict[str, Any], moves: list[tuple[str, Any]]) -> None:
    """All features at once, random faults, then everybody ends exactly once and no block is lost."""
    twins = Twins(EngineConfig(STEP_TIME, **sizes))
    for move in moves:
        twins.move(*move)
    twins.drain()
    for name, reason in twins.ended.items():
        each = twins.submitted[name]
        assert reason in (each.finish_reason, "abort", "restart")
        if reason == each.finish_reason:
            assert twins.told[name] == each.output_tokens
