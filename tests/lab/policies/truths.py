"""Truths written down, for tests of policies that ask for them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from igw.endpoint import Endpoint
from igw.request import Request
from igw.simulator.hardware.calibration import StepTime
from tests.lab.policies.candidates import endpoints


class State(msgspec.Struct, kw_only=True):
    """One server as the truth has it."""

    uncached: int = 1000
    backlog: list[tuple[int, int, int]] = []
    decoding: list[tuple[int, int]] = []
    free: int = 300_000
    left: float = 0.0


class Known:
    """A truth written down: a step takes 10 ms, 1 ms per 100 prompt tokens and 1 ms per decoding sequence."""

    def __init__(self, states: Sequence[State], output: int = 1, step_time: StepTime | None = None) -> None:
        self._states = dict(zip((each.hostport for each in endpoints(len(states))), states, strict=True))
        self._output = output
        self._step_time = step_time

    def uncached_tokens(self, endpoint: Endpoint, _request: Request, /) -> int:
        return self._states[endpoint.hostport].uncached

    def prefill_backlog(self, endpoint: Endpoint, /) -> list[tuple[int, int, int]]:
        return self._states[endpoint.hostport].backlog

    def decoding(self, endpoint: Endpoint, /) -> list[tuple[int, int]]:
        return self._states[endpoint.hostport].decoding

    def free_tokens(self, endpoint: Endpoint, /) -> int:
        return self._states[endpoint.hostport].free

    def output_tokens(self, _request: Request, /) -> int:
        return self._output

    def step_left_seconds(self, endpoint: Endpoint, /) -> float:
        return self._states[endpoint.hostport].left

    def step_seconds(
        self,
        _endpoint: Endpoint,
        prefill: Sequence[tuple[int, int]],
        count: int,
        context: int,
        finished: int,
        /,
    ) -> float:
        if self._step_time:
            return self._step_time.seconds(prefill, count, context, finished)
        return 0.010 + sum(new for new, _ in prefill) * 1e-5 + count * 1e-3
