"""One run, put together: servers, pickers, clients and events on one clock. Which runs there are is `runner`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from igw.endpoint import Endpoint
from igw.lab.clients import Clients
from igw.lab.clock import VirtualClock
from igw.lab.gateway import Gateway, spread
from igw.lab.picker import Picker
from igw.lab.policies.api import Factory, Setting
from igw.lab.records import Record, Sample
from igw.lab.scenario import Add, Event, Lose, Restore, Scenario, Slow
from igw.lab.scrapes import Scrapes
from igw.lab.servers import Server
from igw.lab.truth import Truths
from igw.lab.workload import Workload
from igw.simulator.engine.shared import shared_tier
from igw.simulator.manifest import SimulatorSpec

_PORT = 8000
_EXPIRY_EVERY_SECONDS = 5.0
_EVENTS_PER_LOOK = 4096
"""How many things happen between two looks at whether somebody wants to know or to stop."""


class World:
    """Everything of one run. Build it, then `run`."""

    def __init__(self, scenario: Scenario, workload: Workload, factory: Factory, seed: int) -> None:
        self.clock = VirtualClock()
        self.servers: list[Server] = []
        self.samples: list[Sample] = []
        self._scenario = scenario
        self._at: dict[str, Server] = {}
        for spec in scenario.servers:
            self._build(spec)
        self.truths = Truths(self._at, self.clock)
        self.pickers = [self._picker(factory, seed, number) for number in range(scenario.pickers)]
        self.gateway = Gateway(
            self.clock,
            self.pickers,
            self._at,
            self.truths,
            spread(scenario.sharing, scenario.pickers, seed),
            scenario.signals,
        )
        self._scrape(self.servers)
        model = scenario.servers[0].model
        self.clients = Clients(workload, model, self.gateway, self.clock, scenario.retries)
        for event in scenario.events:
            self.clock.at(event.at_seconds, self._happen, event)
        self.clock.at(0.0, self._sample)
        self.clock.at(_EXPIRY_EVERY_SECONDS, self._expire)

    def run(self, look: Callable[[int], bool] | None = None) -> bool:
        """Run to the end; False if *look*, called now and then with the turns that are over, wanted to stop."""
        advance, clients, gateway = self.clock.advance, self.clients, self.gateway
        limit = math.inf if self._scenario.limit_seconds is None else self._scenario.limit_seconds
        happened, to_the_end = 0, True
        while (clients.going or gateway.unsettled) and advance(limit):
            happened += 1
            if look is not None and not happened % _EVENTS_PER_LOOK and not look(clients.turns_over):
                to_the_end = False
                break
        gateway.unfinished()
        return to_the_end

    def records(self) -> list[Record]:
        """Return the record of every request, in the order of arrival."""
        return [record for _, record in sorted(self.gateway.records.items())]

    # What happens --------------------------------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        if isinstance(event, Lose):
            self.servers[event.server].lose()
        elif isinstance(event, Restore):
            self.servers[event.server].come_back()
        elif isinstance(event, Slow):
            server = self.servers[event.server]
            server.run_at(event.speed)
            self.clock.at(event.until_seconds, server.run_at, 1.0)
        else:
            self._add(event)

    def _add(self, event: Add) -> None:
        added = self._build(event.spec)
        for picker in self.pickers:
            picker.follow(tuple(server.endpoint for server in self.servers))
        self._scrape(added)

    def _sample(self) -> None:
        states = [server.statistics() for server in self.servers]
        self.samples.append(
            Sample(
                at=self.clock.now,
                running=tuple(state.running for state in states),
                waiting=tuple(state.waiting for state in states),
                kv_usage=tuple(state.kv_usage for state in states),
            )
        )
        self.clock.after(self._scenario.sample_seconds, self._sample)

    def _expire(self) -> None:
        for picker in self.pickers:
            picker.ledger.expire(self.clock.now)
        self.clock.after(_EXPIRY_EVERY_SECONDS, self._expire)

    # Building ------------------------------------------------------------------------------------------------------

    def _build(self, spec: SimulatorSpec) -> list[Server]:
        config = spec.server()
        tier = shared_tier(config.engine.shared_blocks)
        built = []
        for _ in range(spec.replicas):
            number = len(self.servers)
            address = f"10.0.{number // 250}.{number % 250 + 1}"
            endpoint = Endpoint.at(address, _PORT, f"server-{number}", labels=dict(spec.labels))
            server = self._at[endpoint.hostport] = Server(
                number, endpoint, config.engine, config.speed, self.clock, tier
            )
            self.servers.append(server)
            built.append(server)
        return built

    def _picker(self, factory: Factory, seed: int, number: int) -> Picker:
        first = self.servers[0]
        setting = Setting(
            rng=random.Random(f"picker {number} seed {seed}"),
            clock=self.clock,
            truth=self.truths,
            max_num_seqs=first.config.max_num_seqs,
            max_num_batched_tokens=first.config.max_num_batched_tokens,
            kv_capacity_tokens=first.kv_capacity_tokens,
        )
        return Picker(factory(setting), tuple(server.endpoint for server in self.servers), self.clock)

    def _scrape(self, servers: list[Server]) -> None:
        for picker in self.pickers:
            for server in servers:
                Scrapes(picker, server, self._scenario.scrape_interval_seconds, self.clock)
