"""A statistical profile of this process while it works: what its threads are doing, looked at many times a second. Who asks for it is `pages`' business.

It needs nothing beforehand and costs nothing until somebody asks, as pprof does; it shows Python's frames only, and counts a thread that
waits as one that works, under what it waits in.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

import msgspec

MOST_SECONDS = 60.0
MOST_HERTZ = 1000
_DEEPEST = 128
"""Frames of a stack; those nearest to its root are left out beyond that."""
_MOST_STACKS = 20_000

Stack = tuple[str, ...]
"""A thread's name, then its frames as `module:function`, the outermost first."""


class Profile(msgspec.Struct, frozen=True):
    """How often every stack was seen."""

    stacks: Mapping[Stack, int]
    every_seconds: float
    left_out: int = 0
    """Stacks that were seen when there was no more room for new ones."""


class Sampler:
    """Looks at all threads but its own every *every_seconds*."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._stacks: Counter[Stack] = Counter()
        self._left_out = 0
        self._names: dict[CodeType, str] = {}

    def run(self, seconds: float) -> Profile:
        """Return what was seen in the next *seconds*. It blocks: give it a thread of its own."""
        own, end = threading.get_ident(), time.monotonic() + seconds
        due = time.monotonic()
        while (now := time.monotonic()) < end:
            threads = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    self.note((threads.get(ident, "thread"), *self._frames(frame)))
            # What was missed is not made up for: the process has other things to do.
            due = max(due + self._every_seconds, now)
            time.sleep(max(0.0, min(due, end) - time.monotonic()))
        return Profile(dict(self._stacks), self._every_seconds, self._left_out)

    def note(self, stack: Stack) -> None:
        """Count one sight of *stack*."""
        if stack in self._stacks or len(self._stacks) < _MOST_STACKS:
            self._stacks[stack] += 1
        else:
            self._left_out += 1

    def _frames(self, frame: FrameType | None) -> list[str]:
        frames: list[str] = []
        while frame is not None and len(frames) < _DEEPEST:
            code = frame.f_code
            name = self._names.get(code)
            if name is None:
                name = self._names[code] = f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}"
            frames.append(name)
            frame = frame.f_back
        frames.reverse()
        return frames


def collapsed(profile: Profile) -> str:
    """Return it as flame graph tools read it: a line for each stack, frames with `;` between, and how often it was seen."""
    lines = sorted(profile.stacks.items(), key=lambda each: (-each[1], each[0]))
    return "".join(
        f"{';'.join(each.replace(';', ':') for each in stack)} {count}\n" for stack, count in lines
    )


def speedscope(profile: Profile, name: str) -> dict[str, Any]:
    """Return it as https://www.speedscope.app reads it (file format 0.0.1): a profile for each thread, times in seconds."""
    frames: dict[str, int] = {}
    threads: dict[str, tuple[list[list[int]], list[float]]] = {}
    for (thread, *stack), count in profile.stacks.items():
        samples, weights = threads.setdefault(thread, ([], []))
        samples.append([frames.setdefault(frame, len(frames)) for frame in stack])
        weights.append(count * profile.every_seconds)
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "igw",
        "shared": {"frames": [{"name": frame} for frame in frames]},
        "profiles": [
            {"type": "sampled", "name": thread, "unit": "seconds", "startValue": 0, "endValue": sum(weights),
             "samples": samples, "weights": weights}
            for thread, (samples, weights) in threads.items()
        ],
    }  # fmt: skip
