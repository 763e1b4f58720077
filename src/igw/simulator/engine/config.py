"""What an engine is built from, and what it tells of itself at one instant."""

from __future__ import annotations

from typing import Literal

import msgspec

from igw.simulator.hardware.calibration import StepTime

SchedulingPolicy = Literal["fcfs", "priority"]


class EngineConfig(msgspec.Struct, frozen=True):
    """Sizes and policies of one engine, named as vLLM names its flags.

    `max_loras` different adapters can run at once, 0 meaning that none is served; the step that loads one takes
    `lora_load_seconds` more. `cpu_blocks` evicted blocks are kept in host memory and come back at
    `cpu_load_seconds_per_block`. A tier of `shared_blocks` is for all engines that are given the same one: what they compute is written
    through to it, and loaded in `shared_load_seconds` and so much more per block.
    """

    step_time: StepTime
    num_gpu_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 131_072
    scheduling_policy: SchedulingPolicy = "fcfs"
    max_loras: int = 1
    lora_load_seconds: float = 0.0
    cpu_blocks: int = 0
    cpu_load_seconds_per_block: float = 0.0
    shared_blocks: int = 0
    shared_load_seconds: float = 0.0
    shared_load_seconds_per_block: float = 0.0
    enable_prefix_caching: bool = True

    def __post_init__(self) -> None:
        for name in ("num_gpu_blocks", "block_size", "max_num_seqs", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "max_loras",
            "lora_load_seconds",
            "cpu_blocks",
            "cpu_load_seconds_per_block",
            "shared_blocks",
            "shared_load_seconds",
            "shared_load_seconds_per_block",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.scheduling_policy not in ("fcfs", "priority"):
            raise ValueError(f"scheduling_policy is fcfs or priority, not {self.scheduling_policy!r}")
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
    """The engine at one instant; counters rise from its start, as vLLM's do.

    `waiting_deferred` of those that wait do so for an adapter's slot or for keys and values that are on their way.
    External queries and hits are those of prompt tokens on the CPU tier and on other servers.
    """

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
    waiting_deferred: int = 0
    running_adapters: tuple[str, ...] = ()
    waiting_adapters: tuple[str, ...] = ()
    cpu_usage: float = 0.0
    external_queries_tokens: int = 0
    external_hits_tokens: int = 0
    asleep: bool = False
