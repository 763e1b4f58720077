"""The proxy of the lab: asks a picker, sends the request to what was picked, tells picker and client how it ended.

It stands where Envoy does, with Envoy's rules for retries and reports. Choosing is `picker`, answering is `servers`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from igw.decision import Decision
from igw.lab.asked import Asked
from igw.lab.clock import VirtualClock
from igw.lab.picker import POOL, Picker
from igw.lab.records import Fate, Record
from igw.lab.servers import Server
from igw.lab.truth import Truths
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.simulator.engine.sequence import Emission
from igw.simulator.hardware.calibration import FRONTEND_SECONDS

REPORT_SECONDS = 0.025
"""From an answer's end to the picker's knowing in lean mode: half the time for which the proxy may gather log records."""

Done = Callable[[Record], None]


class _Exchange:
    """One request between its pick and its end (`servers.Answer`)."""

    __slots__ = (
        "_gateway",
        "arrived",
        "asked",
        "decision",
        "done",
        "first_token_at",
        "number",
        "picker",
        "sent_at",
        "server",
    )

    def __init__(
        self,
        gateway: Gateway,
        number: int,
        asked: Asked,
        done: Done,
        picked: tuple[Picker, Decision],
        server: Server,
        arrived: float,
    ) -> None:
        self._gateway = gateway
        self.arrived = arrived
        self.sent_at = gateway.clock.now
        self.number = number
        self.asked = asked
        self.done = done
        self.picker, self.decision = picked
        self.server = server
        self.first_token_at = -1.0

    def started(self, _emission: Emission, /) -> None:
        self.first_token_at = self._gateway.clock.now
        self._gateway.first_token(self)

    def completed(self, emission: Emission, /) -> None:
        outcome = Outcome(
            End.COMPLETE,
            status=200,
            served_by=self.server.endpoint.hostport,
            ttft_seconds=_microseconds(self.first_token_at - self.arrived),
            duration_seconds=_microseconds(self._gateway.clock.now - self.arrived),
            usage=Usage(emission.sequence.prompt_tokens, emission.total_tokens, emission.cached_tokens),
        )
        self._gateway.ended(self, self.record(Fate.COMPLETE, emission), outcome)

    def refused(self) -> None:
        outcome = Outcome(End.COMPLETE, status=400, served_by=self.server.endpoint.hostport)
        self._gateway.ended(self, self.record(Fate.REJECTED), outcome)

    def lost(self) -> None:
        status = 200 if self.first_token_at >= 0 else 503
        outcome = Outcome(End.FAILED, status=status, served_by=self.server.endpoint.hostport)
        self._gateway.ended(self, self.record(Fate.LOST), outcome)

    def record(self, fate: Fate, emission: Emission | None = None) -> Record:
        session, arrived, now = self.asked.session, self.arrived, self._gateway.clock.now
        frontend_seconds = FRONTEND_SECONDS / self.server.speed
        return Record(
            session=session.id,
            tenant=session.tenant,
            fate=fate,
            server=self.server.number,
            arrived=arrived,
            held_seconds=self.sent_at - arrived,
            queued_seconds=emission.queued_seconds + frontend_seconds if emission else 0.0,
            ttft_seconds=self.first_token_at - arrived if self.first_token_at >= 0 else 0.0,
            e2e_seconds=now - arrived,
            prompt_tokens=self.asked.turn.prompt_tokens,
            output_tokens=emission.total_tokens if emission else 0,
            cached_tokens=emission.cached_tokens if emission else 0,
        )


class Gateway:
    """Sends requests. Keeps the record of every one, by the number of its arrival."""

    def __init__(
        self,
        clock: VirtualClock,
        pickers: Sequence[Picker],
        servers: Mapping[str, Server],
        truths: Truths,
        sharing: Callable[[int], int],
        signals: Literal["lean", "full"],
    ) -> None:
        self.clock = clock
        self.records: dict[int, Record] = {}
        self.unsettled = 0
        """Ends that pickers do not know of yet."""
        self._pickers = pickers
        self._servers = servers
        self._truths = truths
        self._sharing = sharing
        self._full = signals == "full"
        self._open: dict[int, _Exchange] = {}
        self._waiting: dict[int, tuple[Asked, float, Done]] = {}
        self._sent = 0

    @property
    def sent(self) -> int:
        """Requests so far, repeated ones included."""
        return self._sent

    def send(self, asked: Asked, model: str, done: Done) -> None:
        """Have *asked* answered; *done* is called once, perhaps before this returns."""
        number = self._sent
        self._sent += 1
        picker = self._pickers[self._sharing(number)]
        self._truths.expect(asked)
        self._waiting[number] = (asked, self.clock.now, done)
        picker.ask(asked.request(model, POOL), partial(self._placed, number, picker))

    def _placed(self, number: int, picker: Picker, decision: Decision | None) -> None:
        asked, arrived, done = self._waiting.pop(number)
        if decision is None:
            self._truths.forget(asked.id)
            self.records[number] = record = _unsent(asked, arrived, self.clock.now, Fate.REJECTED)
            done(record)
            return
        # As Envoy: who cannot be connected to is passed over for the next one that was picked.
        picked = [self._servers[endpoint.hostport] for endpoint in decision.endpoints]
        server = next((each for each in picked if each.up), None)
        exchange = _Exchange(self, number, asked, done, (picker, decision), server or picked[-1], arrived)
        self._open[number] = exchange
        if server is not None:
            server.send(asked.sequence(server.config.block_size), exchange)
        else:
            self._unreachable(exchange)

    def first_token(self, exchange: _Exchange) -> None:
        """Note that an answer has begun."""
        if self._full or exchange.picker.watches_answers:
            exchange.picker.first_token(exchange.decision)

    def ended(self, exchange: _Exchange, record: Record, outcome: Outcome) -> None:
        """Note the end of an exchange and tell everybody who waits for it."""
        del self._open[exchange.number]
        self._truths.forget(exchange.asked.id)
        self.records[exchange.number] = record
        self.unsettled += 1
        if self._full:
            self._settle(exchange.picker, exchange.decision, outcome)
        else:
            self.clock.after(REPORT_SECONDS, self._settle, exchange.picker, exchange.decision, outcome)
        exchange.done(record)

    def unfinished(self) -> None:
        """Record what is still open as unfinished, because the run is over."""
        for number, exchange in self._open.items():
            self.records[number] = exchange.record(Fate.UNFINISHED)
        for number, (asked, arrived, _) in self._waiting.items():
            self.records[number] = _unsent(asked, arrived, self.clock.now, Fate.UNFINISHED)

    def _unreachable(self, exchange: _Exchange) -> None:
        served_by = exchange.server.endpoint.hostport
        outcome = Outcome(End.FAILED, status=503, served_by=served_by, unreachable=True)
        self.ended(exchange, exchange.record(Fate.LOST), outcome)

    def _settle(self, picker: Picker, decision: Decision, outcome: Outcome) -> None:
        self.unsettled -= 1
        picker.close(decision, outcome)


def spread(sharing: Literal["turns", "random"], pickers: int, seed: int) -> Callable[[int], int]:
    """Return which picker is asked for the request of a number."""
    if sharing == "turns":
        return lambda number: number % pickers
    rng = random.Random(f"sharing {seed}")
    return lambda _number: rng.randrange(pickers)


def _unsent(asked: Asked, arrived: float, now: float, fate: Fate) -> Record:
    return Record(
        session=asked.session.id,
        tenant=asked.session.tenant,
        fate=fate,
        server=-1,
        arrived=arrived,
        held_seconds=now - arrived,
        queued_seconds=0.0,
        ttft_seconds=0.0,
        e2e_seconds=now - arrived,
        prompt_tokens=asked.turn.prompt_tokens,
        output_tokens=0,
        cached_tokens=0,
    )


def _microseconds(seconds: float) -> float:
    """Return *seconds* as exact as the proxy's log."""
    return int(seconds * 1e6) / 1e6
