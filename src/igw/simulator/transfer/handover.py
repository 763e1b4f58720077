"""Hands prompts from one server to another, in the way of vLLM's NIXL connector in its pull mode.

What NIXL does over RDMA and a side channel is one HTTP request here, `SIDE_CHANNEL`, to the port that the other server has
anyway. It is told engine, request and blocks, verifies them, and is told again when they are no longer needed. The time
that a real transfer takes is spent by the engine. What is held is kept in `holdings`; the route is in `http.transfer`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import msgspec
import structlog
from xxhash import xxh3_128_hexdigest

from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.sequence import Emission
from igw.simulator.engine.sequence import Sequence as EngineSequence
from igw.simulator.transfer.config import KvTransferConfig
from igw.simulator.transfer.holdings import Holdings
from igw.simulator.transfer.params import KvTransferParams

SIDE_CHANNEL = "/igw/kv-transfer"
HANDSHAKE_SECONDS = 5.0
"""How long another server may take to answer; vLLM's NIXL handshake waits as long."""

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}

Prompt: TypeAlias = "tuple[EngineSequence, array[int]]"
"""A sequence, and its tokens: those of the prompt first."""


class LoadFailedError(Exception):
    """Keys and values that could not be fetched, under the policy `fail`."""


class Notice(msgspec.Struct, frozen=True):
    """What one server asks another: to verify that it holds these blocks, or with `done` to let them go."""

    engine_id: str
    request_id: str
    block_ids: list[int | list[int]] = []
    done: bool = False


class Holding(msgspec.Struct, frozen=True):
    """The answer: how many tokens the blocks are of, and a digest of them."""

    tokens: int
    digest: str


class Handover:
    """One request's part in it: the sequences to run, and what its answer tells (None for nothing).

    `watch` must see each emission, and `end` must be called when nobody waits for one any more.
    """

    def __init__(self, sequences: list[EngineSequence]) -> None:
        self.sequences = sequences
        self.told: dict[str, Any] | None = None
        self.on_first: Callable[[], None] | None = None
        self.on_last: dict[str, Callable[[], None]] = {}
        self._unheard = {sequence.id for sequence in sequences}

    def watch(self, emission: Emission) -> None:
        """Take note of an emission: of all first tokens, when what was fetched may go, and of the last one."""
        self._unheard.discard(emission.sequence.id)
        if not self._unheard:
            self._fetched()
        if emission.reason and (hold := self.on_last.pop(emission.sequence.id, None)):
            hold()

    def end(self) -> None:
        """Let go what was still to be fetched, as vLLM does for a request that was aborted."""
        self._fetched()

    def _fetched(self) -> None:
        if self.on_first is not None:
            self.on_first()
            self.on_first = None


class Transfers:
    """The prompts that one server computes for others, and those that it fetches; `release` frees a held sequence."""

    def __init__(
        self,
        config: KvTransferConfig,
        engine: EngineConfig,
        engine_id: str,
        seconds_per_token: float,
        clock: Callable[[], float],
        release: Callable[[str], None],
    ) -> None:
        self.holdings = Holdings(engine_id, engine.num_gpu_blocks, config.abort_request_timeout_seconds)
        self._config = config
        self._block_size = engine.block_size
        self._seconds_per_token = seconds_per_token
        self._clock = clock
        self._release = release
        self._client: aiohttp.ClientSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._notices: set[asyncio.Task[None]] = set()
        self._address: dict[str, Any] = {}

    @asynccontextmanager
    async def running(self, address: str, port: int, tensor_parallel: int) -> AsyncIterator[None]:
        """Fetch, and let go what has waited too long, while the context is open."""
        host = self._config.side_channel_host or _WILDCARDS.get(address, address)
        self._address = {"remote_host": host, "remote_port": port, "tp_size": tensor_parallel}
        timeout = aiohttp.ClientTimeout(total=HANDSHAKE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as self._client:
            try:
                yield
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                for task in self._notices:
                    task.cancel()
                if self._notices:
                    await asyncio.wait(self._notices)

    async def begin(
        self, asked: KvTransferParams | None, request_id: str, prompts: Sequence[Prompt]
    ) -> Handover:
        """Return the handover of a request; ValueError for what the role refuses, LoadFailedError under `fail`."""
        sequences = [sequence for sequence, _ in prompts]
        if asked is None:
            return Handover(sequences)
        self._check_role(asked)
        if asked.do_remote_prefill:
            sequences = await self._with_remote(asked, prompts)
        if not asked.do_remote_decode:
            return self._fetching(Handover(sequences), asked)
        handover = Handover([msgspec.structs.replace(sequences[0], hold=True), *sequences[1:]])
        self._holding(handover, f"{request_id}-{sequences[0].id[:8]}", prompts[0])
        return self._fetching(handover, asked)

    def read(self, notice: Notice) -> Holding:
        """Answer another server; NotHeldError when it has the wrong engine, request or blocks."""
        held = self.holdings.read(notice.engine_id, notice.request_id, notice.block_ids)
        return Holding(held.tokens, held.digest)

    def done(self, notice: Notice) -> bool:
        """Free what another server has fetched; False when it was not held any more."""
        if notice.engine_id != self.holdings.engine_id:
            return False
        sequence_id = self.holdings.release(notice.request_id)
        if sequence_id is None:
            return False
        self._release(sequence_id)
        return True

    def clear(self) -> None:
        """Forget what is held: the memory it was in has been discarded."""
        self.holdings.clear()

    def _check_role(self, asked: KvTransferParams) -> None:
        if asked.do_remote_prefill and not self._config.consumes:
            raise ValueError("do_remote_prefill: this server is a kv_producer and fetches nothing")
        if asked.do_remote_decode and not self._config.produces:
            raise ValueError(
                "do_remote_decode: this server is a kv_consumer and computes no prompts for others"
            )

    def _holding(self, handover: Handover, request_id: str, prompt: Prompt) -> None:
        sequence, tokens = prompt
        count = sequence.prompt_tokens
        blocks = self.holdings.number(-(-count // self._block_size))
        handover.told = {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [list(blocks)],
            "remote_engine_id": self.holdings.engine_id,
            "remote_request_id": request_id,
            **self._address,
            "remote_num_tokens": count,
        }
        digest = _digest(sequence.adapter, tokens[:count])
        handover.on_last[sequence.id] = lambda: self._hold(request_id, (sequence.id, blocks, count, digest))

    def _hold(self, request_id: str, held: tuple[str, tuple[int, ...], int, str]) -> None:
        self.holdings.hold(request_id, held, self._clock())
        self._await_expiry()

    def _await_expiry(self) -> None:
        due = self.holdings.next_expiry
        if due is not None and self._timer is None:
            delay = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for sequence_id in self.holdings.expire(self._clock()):
            structlog.get_logger("kv_transfer").warning(
                "nobody fetched a prompt in time", sequence=sequence_id
            )
            self._release(sequence_id)
        self._await_expiry()

    async def _with_remote(self, asked: KvTransferParams, prompts: Sequence[Prompt]) -> list[EngineSequence]:
        sequences = [sequence for sequence, _ in prompts]
        if asked.missing:
            # vLLM warns as well, and computes the prompt itself.
            log = structlog.get_logger("kv_transfer")
            log.warning("kv_transfer_params_not_whole", then="nothing is fetched", missing=asked.missing)
            return sequences
        try:
            holding = await self._ask(asked, prompts)
        except (LoadFailedError, aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            if self._config.kv_load_failure_policy == "fail":
                where = f"{asked.remote_host}:{asked.remote_port}"
                raise LoadFailedError(
                    f"KV load from {where} failed: {error or type(error).__name__}"
                ) from error
            structlog.get_logger("kv_transfer").warning("KV load failed, computing", reason=str(error))
            return sequences
        seconds = holding.tokens * self._seconds_per_token
        return [
            msgspec.structs.replace(each, remote_tokens=holding.tokens, load_seconds=seconds)
            for each in sequences
        ]

    def _fetching(self, handover: Handover, asked: KvTransferParams) -> Handover:
        if any(sequence.remote_tokens for sequence in handover.sequences):
            handover.on_first = lambda: self._tell_done(asked)
        return handover

    async def _ask(self, asked: KvTransferParams, prompts: Sequence[Prompt]) -> Holding:
        status, body = await self._post(asked, done=False)
        if status != 200:
            raise LoadFailedError(f"it answered {status}: {body.decode(errors='replace')}")
        holding = msgspec.json.decode(body, type=Holding)
        for sequence, tokens in prompts:
            if _digest(sequence.adapter, tokens[: sequence.prompt_tokens]) != holding.digest:
                raise LoadFailedError("what the other server holds is not this prompt")
        return holding

    def _tell_done(self, asked: KvTransferParams) -> None:
        task = asyncio.get_running_loop().create_task(self._done(asked))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _done(self, asked: KvTransferParams) -> None:
        log = structlog.get_logger("kv_transfer").bind(request=asked.remote_request_id)
        try:
            status, _ = await self._post(asked, done=True)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("prefill_server_not_told", of="blocks that are free", reason=str(error))
            return
        if status != 200:
            log.warning("prefill_server_let_blocks_go", status=status)

    async def _post(self, asked: KvTransferParams, *, done: bool) -> tuple[int, bytes]:
        if self._client is None:
            raise RuntimeError("a server fetches while it runs")
        notice = Notice(
            asked.remote_engine_id or "", asked.remote_request_id or "", asked.remote_block_ids or [], done
        )
        host = asked.remote_host or ""
        url = f"http://{f'[{host}]' if ':' in host else host}:{asked.remote_port}{SIDE_CHANNEL}"
        async with self._client.post(url, data=msgspec.json.encode(notice)) as response:
            return response.status, await response.read()


def _digest(adapter: str | None, tokens: array[int]) -> str:
    return xxh3_128_hexdigest(f"{adapter or ''}\0".encode() + tokens.tobytes())
