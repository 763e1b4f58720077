"""Prefill on one real server and decode on another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from igw.simulator.manifest import Hardware, SimulatorSpec
from igw.simulator.server import ModelServer
from igw.simulator.transfer.config import KvTransferConfig

_ASK = {"do_remote_decode": True, "do_remote_prefill": False}
_PROMPT = "Tell me everything about the sea, its tides, and those who live in it. " * 40
_TOKENS = -(-len(_PROMPT) // 4)


class _Pair:
    """A prefill server and a decode server."""

    def __init__(self, prefill: _Site, decode: _Site) -> None:
        self.prefill = prefill
        self.decode = decode


class _Site:
    def __init__(self, server: ModelServer, port: int, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{port}"
        self._http = http

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self._http.post(f"{self.url}{path}", json=body) as response:
            return response.status, await response.json()

    async def complete(self, params: Any, tokens: int = 1, prompt: str = _PROMPT) -> tuple[int, Any]:
        body = {"prompt": prompt, "max_tokens": tokens, "kv_transfer_params": params}
        return await self.post("/v1/completions", body)

    @property
    def usage(self) -> float:
        return self.server.engine.statistics().kv_usage

    async def freed(self) -> None:
        """Wait until no block is in use; the engine tells nobody, so it is asked."""
        async with asyncio.timeout(10):
            while self.usage:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _site(http: aiohttp.ClientSession, role: str, **config: Any) -> AsyncIterator[_Site]:
    spec = SimulatorSpec(
        model="demo",
        speed=20.0,
        hardware=Hardware(tensor_parallel=1),
        kv_transfer_config=KvTransferConfig(kv_role=role, **config),  # type: ignore[arg-type]
    )
    server = ModelServer(spec.server())
    async with server.serving("127.0.0.1", 0) as port:
        yield _Site(server, port, http)


@asynccontextmanager
async def _pair(prefill: dict[str, Any] | None = None, **decode: Any) -> AsyncIterator[_Pair]:
    async with (
        aiohttp.ClientSession() as http,
        _site(http, "kv_producer", **(prefill or {})) as first,
        _site(http, "kv_consumer", **decode) as second,
    ):
        yield _Pair(first, second)


async def test_a_prompt_computed_on_one_server_is_decoded_on_another() -> None:
    """The decode server computes nothing of the prompt but its last token, and answers as one server would."""
    async with _pair() as pair, aiohttp.ClientSession() as http, _site(http, "kv_both") as alone:
        status, first = await pair.prefill.complete(_ASK)
        assert status == 200
        told = first["kv_transfer_params"]
        assert pair.prefill.usage > 0
        status, answer = await pair.decode.complete(told, tokens=20)
        assert status == 200
        assert answer["kv_transfer_params"] is None
        assert (
            answer["choices"][0]["text"] == (await alone.complete(None, tokens=20))[1]["choices"][0]["text"]
        )
        assert answer["choices"][0]["text"].startswith(first["choices"][0]["text"])
        # vLLM counts what arrived as cached; the last token is always computed.
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == _TOKENS - 1
        statistics = pair.decode.server.engine.statistics()
        assert statistics.external_hits_tokens == _TOKENS - 1
        await pair.prefill.freed()


async def test_the_answer_to_a_prefill_says_all_that_nixl_says() -> None:
    """Names, types and nesting of vLLM's NIXL connector."""
    async with _pair({"engine_id": "engine-p"}) as pair:
        _, first = await pair.prefill.complete(_ASK)
    told = first["kv_transfer_params"]
    blocks = -(-_TOKENS // 16)
    assert told["remote_block_ids"] == [list(range(blocks))]
    assert told["remote_request_id"].startswith(first["id"])
    assert {
        key: value for key, value in told.items() if key not in {"remote_block_ids", "remote_request_id"}
    } == {
        "do_remote_prefill": True,
        "do_remote_decode": False,
        "remote_engine_id": "engine-p",
        "remote_host": "127.0.0.1",
        "remote_port": int(pair.prefill.url.rpartition(":")[2]),
        "tp_size": 1,
        "remote_num_tokens": _TOKENS,
    }


@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 1}),
        ("/v1/responses", {"input": _PROMPT, "max_output_tokens": 1}),
        (
            "/v1/messages",
            {"model": "demo", "messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 1},
        ),
    ],
)
async def test_every_api_that_generates_can_be_disaggregated(path: str, prompt: dict[str, Any]) -> None:
    """Parameters go in and come out at the top level of the body."""
    async with _pair() as pair:
        status, first = await pair.prefill.post(path, {**prompt, "kv_transfer_params": _ASK})
        assert status == 200
        told = first["kv_transfer_params"]
        status, _ = await pair.decode.post(path, {**prompt, "kv_transfer_params": told})
        assert status == 200
        assert pair.decode.server.engine.statistics().external_hits_tokens == told["remote_num_tokens"] - 1
        await pair.prefill.freed()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"remote_block_ids": [[5, 6]]}, "not the 2 asked for"),
        ({"remote_engine_id": "somebody-else"}, "this is engine"),
        ({"remote_request_id": "cmpl-0"}, "nothing is held for request 'cmpl-0'"),
        ({"remote_port": 1}, "Cannot connect"),
    ],
)
async def test_wrong_ids_fail_the_request_as_a_real_connector_would(
    wrong: dict[str, Any], reason: str
) -> None:
    """Under vLLM's default policy; what is held stays, for whoever has the right ids."""
    async with _pair() as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        status, answer = await pair.decode.complete({**told, **wrong})
        assert status == 500
        assert answer["error"]["type"] == "InternalServerError"
        assert reason in answer["error"]["message"]
        assert pair.prefill.usage > 0
        assert (await pair.decode.complete(told))[0] == 200


async def test_another_prompt_than_the_one_that_was_computed_fails() -> None:
    """Its answer would be nonsense on a real server."""
    async with _pair() as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        status, answer = await pair.decode.complete(told, prompt=_PROMPT + "More. ")
        assert status == 500
        assert "is not this prompt" in answer["error"]["message"]


async def test_the_policy_recompute_computes_what_could_not_be_fetched() -> None:
    """The answer is the same, only later."""
    async with _pair(kv_load_failure_policy="recompute") as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        status, answer = await pair.decode.complete({**told, "remote_engine_id": "gone"})
        assert status == 200
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_what_nobody_fetches_is_freed_after_the_timeout_and_cannot_be_fetched_then() -> None:
    """Times shrink with the server's speed: 2 s at speed 20."""
    async with _pair({"abort_request_timeout_seconds": 2.0}) as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        await pair.prefill.freed()
        status, answer = await pair.decode.complete(told)
        assert status == 500
        assert "has expired" in answer["error"]["message"]


async def test_a_role_refuses_what_it_does_not_do() -> None:
    """A request at the wrong server is told so at once."""
    async with _pair() as pair:
        status, answer = await pair.decode.complete(_ASK)
        assert status == 400
        assert "kv_consumer" in answer["error"]["message"]
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        status, answer = await pair.prefill.complete(told)
        assert status == 400
        assert "kv_producer" in answer["error"]["message"]


async def test_parameters_that_are_not_whole_are_not_used() -> None:
    """A sidecar whose prefill leg told nothing sends such; vLLM computes the prompt itself."""
    async with _pair() as pair:
        status, answer = await pair.decode.complete({"do_remote_prefill": True})
        assert status == 200
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_a_server_without_a_connector_ignores_the_parameters_and_has_no_side_channel() -> None:
    """As vLLM without --kv-transfer-config."""
    server = ModelServer(SimulatorSpec(model="demo", speed=20.0).server())
    async with server.serving("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        site = _Site(server, port, http)
        status, answer = await site.complete(_ASK)
        assert (status, answer["kv_transfer_params"]) == (200, None)
        assert site.usage == 0
        assert (await site.post("/igw/kv-transfer", {}))[0] == 404


async def test_a_client_that_leaves_the_decode_server_frees_the_prompt_on_the_other() -> None:
    """Before the first token; vLLM tells the prefill server as well."""
    async with _pair(bandwidth_bytes_per_second=1e6) as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        leaving = asyncio.create_task(pair.decode.complete(told))
        async with asyncio.timeout(10):
            while not pair.decode.usage:
                await asyncio.sleep(0.01)
        assert pair.prefill.usage > 0
        leaving.cancel()
        await asyncio.wait([leaving])
        await pair.prefill.freed()
        await pair.decode.freed()


async def test_a_transfer_takes_as_long_as_its_bytes_at_the_bandwidth() -> None:
    """710 tokens of 128 KiB each at 100 MB/s, twenty times faster: at least 46 ms, and none of it is prefill."""
    async with _pair(bandwidth_bytes_per_second=100e6) as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        began = asyncio.get_running_loop().time()
        await pair.decode.complete(told)
        took = asyncio.get_running_loop().time() - began
    assert took >= _TOKENS * 131_072 / 100e6 / 20


async def test_a_sleeping_server_has_nothing_to_fetch_from() -> None:
    """Its memory was discarded."""
    async with _pair() as pair:
        told = (await pair.prefill.complete(_ASK))[1]["kv_transfer_params"]
        async with aiohttp.ClientSession() as http:
            await http.post(f"{pair.prefill.url}/sleep")
        assert pair.prefill.usage == 0
        assert (await pair.decode.complete(told))[0] == 500
