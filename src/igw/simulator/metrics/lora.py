"""`vllm:lora_requests_info`, the one family of vLLM's whose series come and go. Adapters themselves are the engine's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from igw.simulator.metrics.families import Block, Reading
from igw.simulator.metrics.page import head, written

MOST_COMBINATIONS = 256
"""Combinations of adapters that are remembered; vLLM itself keeps them all."""

_NAME = "vllm:lora_requests_info"


def lora_requests_info(max_loras: int) -> Block:
    """Return the writer of `vllm:lora_requests_info`: a series per combination of adapters, its value when it was last so.

    Readers take the newest. As in vLLM an engine that rests leaves the time as it was.
    """
    first = head(_NAME, "gauge", "Running stats on lora requests.")
    seen: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def write(readings: Sequence[Reading]) -> str:
        for reading in readings:
            now = reading.statistics
            key = (",".join(now.running_adapters), ",".join(now.waiting_adapters))
            if key in seen and next(reversed(seen)) == key and not (now.running or now.waiting):
                continue
            start = written(
                _NAME,
                {
                    "max_lora": str(max_loras),
                    "running_lora_adapters": key[0],
                    "waiting_lora_adapters": key[1],
                },
            )
            seen[key] = (start, reading.wall_seconds)
            seen.move_to_end(key)
        while len(seen) > MOST_COMBINATIONS:
            seen.popitem(last=False)
        return first + "".join([f"{start}{when}\n" for start, when in seen.values()])

    return write
