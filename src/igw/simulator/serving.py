"""What the routes of one model server share: its engines, its names, clock, load and faults.

HTTP itself is in `server` and the room `http`; what a manifest may say, in `manifest`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from igw.simulator.driver import Driver
from igw.simulator.engine.blocks import block_hashes
from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Sequence
from igw.simulator.engine.shared import SharedTier
from igw.simulator.faults import Planned
from igw.simulator.http.deciding import Decider
from igw.simulator.http.errors import ApiError
from igw.simulator.http.names import LoraModule, Names
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.kv_events.server_events import ServerEvents
from igw.simulator.metrics.dialects import DIALECTS, DialectName
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.metrics.http_requests import HttpRequests
from igw.simulator.ranks import EngineRank, Ranks
from igw.simulator.sabotage import Saboteur
from igw.simulator.transfer.config import KvTransferConfig
from igw.simulator.transfer.handover import Transfers


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one server serves and how fast: with `speed` 2.0 everything takes half the time.

    `model` is what caches are keyed by; clients ask for one of `served_model_names`, or for `model` if there are none.
    """

    model: str
    engine: EngineConfig
    speed: float = 1.0
    dialect: DialectName = "vllm"
    served_model_names: tuple[str, ...] = ()
    lora_modules: tuple[LoraModule, ...] = ()
    allow_runtime_lora_updating: bool = True
    enable_prompt_tokens_details: bool = True
    enable_request_id_headers: bool = False
    api_keys: tuple[str, ...] = ()
    loading_seconds: float = 0.0
    shutdown_seconds: float = 0.0
    embedding_dimensions: int = 1024
    image_step_seconds: float = 0.1
    speech_real_time_factor: float = 0.1
    kv_events: KvEventsConfig | None = None
    kv_transfer: KvTransferConfig | None = None
    kv_bytes_per_token: int = 131_072
    tensor_parallel: int = 1
    replica: int = 0
    data_parallel_size: int = 1
    data_parallel_rank: int | None = None
    grpc_port: int | None = None
    schedule: tuple[Planned, ...] = ()

    @property
    def rank_numbers(self) -> range:
        """The data-parallel ranks behind this server's port: one if it has a rank of its own, else all."""
        own = self.data_parallel_rank
        return range(self.data_parallel_size) if own is None else range(own, own + 1)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model; the first is the one that answers and metrics carry."""
        return self.served_model_names or (self.model,)


class Serving:
    """One model server without its listener; `engine` and `driver` may be watched, never driven, by others."""

    def __init__(
        self,
        config: ServerConfig,
        clock: Callable[[], float] = time.monotonic,
        saboteur: Saboteur | None = None,
        shared_tier: SharedTier | None = None,
    ) -> None:
        self.config = config
        self.shared_tier = shared_tier
        self.clock = clock
        self.saboteur = saboteur or Saboteur(config.schedule, config.speed, clock)
        self.names = Names(config.names, config.lora_modules)
        self.load = 0
        self.quiet = asyncio.Event()
        self.quiet.set()
        self.draining = False
        self.sleep_level = 1
        self.ready_at = clock() + config.loading_seconds / config.speed
        self._epoch = time.time_ns() / 1e9 - clock()
        self.kv_events = self._server_events()
        self.ranks = Ranks([self._rank(number) for number in config.rank_numbers])
        self.transfers = self._transfers()
        self.saboteur.attach(self._slow)
        self.http_requests = HttpRequests()
        if self.kv_events is None:
            self.decider = Decider(config.engine.max_sequence_tokens, self._hashes)
        else:
            self.decider = Decider(config.engine.max_sequence_tokens, self.kv_events.hashes, self._told)

    @property
    def engine(self) -> Engine:
        """The engine, of the first rank where there are several."""
        return self.ranks[0].engine

    @property
    def driver(self) -> Driver:
        """What runs `engine`; sequences of requests go to `ranks`."""
        return self.ranks[0].driver

    @property
    def ready(self) -> bool:
        """Whether requests are taken: not while loading, draining, or made unready by a fault."""
        faulty = self.saboteur.restarting or self.saboteur.state.unready
        return not (self.draining or faulty or self.clock() < self.ready_at)

    def check_ready(self) -> None:
        """Raise ApiError 503 unless requests are taken."""
        if not self.ready:
            raise ApiError(503, "The server is not ready.", kind="ServiceUnavailableError")

    def now(self) -> int:
        """Return the seconds since the epoch."""
        return int(self.unix_seconds())

    def unix_seconds(self) -> float:
        """Return the seconds since the epoch, with their fraction."""
        return self._epoch + self.clock()

    def new_id(self) -> str:
        """Return the part of an answer's id that tells it from others: 16 hexadecimal digits."""
        return uuid.uuid4().hex[:16]

    def sleep(self, level: int) -> None:
        """Discard the KV memory and compute nothing until `wake`; requests that come meanwhile wait."""
        self.sleep_level = level
        self.ranks.sleep()
        if self.transfers is not None:
            self.transfers.clear()

    def wake(self) -> None:
        """Go on after `sleep`."""
        self.ranks.wake()

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Count one request more in `/load` while the context is open."""
        self.load += 1
        self.quiet.clear()
        try:
            yield
        finally:
            self.load -= 1
            if not self.load:
                self.quiet.set()

    def _slow(self, factor: float) -> None:
        for rank in self.ranks:
            rank.driver.slow_factor = factor

    def _server_events(self) -> ServerEvents | None:
        config, told = self.config, self.config.kv_events
        if told is None or not told.published:
            return None
        place = (config.replica, config.rank_numbers, config.data_parallel_size)
        return ServerEvents(told, config.engine.block_size, place, self.unix_seconds)

    def _transfers(self) -> Transfers | None:
        config, given = self.config, self.config.kv_transfer
        if given is None:
            return None
        engine_id = given.engine_id or str(uuid.uuid4())
        if given.engine_id and config.replica:
            engine_id += f"-{config.replica}"
        # Every GPU fetches its share of the heads over a link of its own.
        seconds = config.kv_bytes_per_token / config.tensor_parallel / given.bandwidth_bytes_per_second
        timeout = given.abort_request_timeout_seconds / config.speed
        scaled = msgspec.structs.replace(given, abort_request_timeout_seconds=timeout)
        return Transfers(scaled, config.engine, engine_id, seconds, self.clock, self.ranks.release)

    def _rank(self, number: int) -> EngineRank:
        config = self.config
        told = self.kv_events
        publisher = None if told is None else told.publishers[config.rank_numbers.index(number)]
        engine = Engine(config.engine, publisher, self.shared_tier)
        length = config.engine.max_model_len
        histograms = Histograms(length, DIALECTS[config.dialect].bounds(length))
        driver = Driver(engine, histograms, speed=config.speed, clock=self.clock)
        return EngineRank(number, engine, histograms, driver)

    def _told(self, sequence: Sequence, tokens: array[int], salt: str) -> Sequence:
        lora_id = self.names.lora_id(sequence.adapter)
        return ServerEvents.told(sequence, tokens, salt, lora_id)

    def _hashes(self, tokens: array[int], adapter: str, salt: str) -> tuple[int, ...]:
        size = self.config.engine.block_size
        return block_hashes(self.config.model, tokens, size, adapter=adapter, salt=salt)
