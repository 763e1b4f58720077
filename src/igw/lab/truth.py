"""The real state of the servers, for clairvoyant policies. A policy that could exist does not ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from igw.endpoint import Endpoint
from igw.lab.asked import Asked
from igw.lab.clock import VirtualClock
from igw.lab.servers import Server
from igw.outcomes.ledger import REQUEST_ID
from igw.request import Request
from igw.simulator.engine import sequence as engine


class Truths:
    """`policies.api.Truth` over the engines of one run."""

    def __init__(self, servers: Mapping[str, Server], clock: VirtualClock) -> None:
        self._servers = servers
        self._clock = clock
        self._asked: dict[str, Asked] = {}
        self._cached: dict[str, int] = {}

    def expect(self, asked: Asked) -> None:
        """Know what a request that is about to be routed will be."""
        self._asked[asked.id] = asked

    def forget(self, request_id: str) -> None:
        """Drop a request that is over."""
        self._asked.pop(request_id, None)
        self._cached.pop(request_id, None)

    def output_tokens(self, request: Request, /) -> int:
        """Return how long the answer will be."""
        return self._of(request).turn.output_tokens

    def uncached_tokens(self, endpoint: Endpoint, request: Request, /) -> int:
        """Return the prompt tokens that would have to be computed if the request reached the engine now."""
        server = self._server(endpoint)
        sequence = self._of(request).sequence(server.config.block_size)
        return sequence.prompt_tokens - _cached(server, sequence)

    def prefill_backlog(self, endpoint: Endpoint, /) -> list[tuple[int, int, int]]:
        """Return `(new, earlier, output)` of every prompt that is not computed yet: running, waiting, in the front end.

        What the step under way computes counts as computed. What is cached of one that waits is what was when it was first asked for.
        """
        server = self._server(endpoint)
        backlog = []
        for sequence, computed, known in server.engine.unfinished():
            earlier = computed or self._found(server, sequence)
            if not _decodes(sequence, earlier, known):
                left = sequence.output_tokens - (known - sequence.prompt_tokens)
                backlog.append((known - earlier, earlier, left))
        for sequence in server.arriving.values():
            cached = self._found(server, sequence)
            backlog.append((sequence.prompt_tokens - cached, cached, sequence.output_tokens))
        return backlog

    def decoding(self, endpoint: Endpoint, /) -> list[tuple[int, int]]:
        """Return `(context tokens, output tokens still to come)` of every sequence in its decode phase."""
        return [
            (known, sequence.output_tokens - (known - sequence.prompt_tokens))
            for sequence, computed, known in self._server(endpoint).engine.unfinished()
            if _decodes(sequence, computed, known)
        ]

    def free_tokens(self, endpoint: Endpoint, /) -> int:
        """Return the KV memory that nobody holds."""
        server = self._server(endpoint)
        return server.engine.blocks.free * server.config.block_size

    def step_left_seconds(self, endpoint: Endpoint, /) -> float:
        """Return how long the step under way still takes; 0 between steps."""
        return max(0.0, self._server(endpoint).step_ends - self._clock.now)

    def step_seconds(
        self,
        endpoint: Endpoint,
        prefill: Sequence[tuple[int, int]],
        decode_sequences: int,
        decode_kv_tokens: int,
        finished_prefills: int,
        /,
    ) -> float:
        """Return what such a step would take there now."""
        server = self._server(endpoint)
        step_time = server.config.step_time
        return step_time.seconds(prefill, decode_sequences, decode_kv_tokens, finished_prefills) / server.pace

    def _server(self, endpoint: Endpoint) -> Server:
        return self._servers[endpoint.hostport]

    def _found(self, server: Server, sequence: engine.Sequence) -> int:
        found = self._cached.get(sequence.id)
        if found is None:
            found = self._cached[sequence.id] = _cached(server, sequence)
        return found

    def _of(self, request: Request) -> Asked:
        return self._asked[request.head.headers[REQUEST_ID]]


def _decodes(sequence: engine.Sequence, computed: int, known: int) -> bool:
    return computed >= known or (computed == known - 1 and known > sequence.prompt_tokens)


def _cached(server: Server, sequence: engine.Sequence) -> int:
    size = server.config.block_size
    found, _ = server.engine.blocks.lookup(sequence.block_hashes, (sequence.prompt_tokens - 1) // size)
    return found * size
