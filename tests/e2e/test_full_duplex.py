"""Someone else's Envoy, which streams bodies through the picker both ways (protocol 004): `examples/envoy-full-duplex.yaml`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from benchmarks.proxy import static_envoy
from tests.e2e.harness import Stack, stack
from tests.e2e.test_requests import http2_with_trailers


@contextlib.asynccontextmanager
async def foreign(
    folder: Path,
    servers: int = 2,
    *server_flags: str,
    picker_flags: tuple[str, ...] = (),
    modes: Mapping[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """Run a stack whose clients come through an Envoy that is not ours; *modes* are other processing modes than the example's."""
    flags = server_flags or ("--speed", "20")
    async with (
        stack(folder, servers, server_flags=flags, picker_flags=picker_flags) as running,
        static_envoy(folder, picker=running.picker_addresses["grpc"], ports=running.ports, modes=modes) as (
            _,
            address,
        ),
    ):
        running.url = f"http://{address}"
        yield running


async def test_answers_pass_unchanged_and_usage_is_learnt_in_passing(tmp_path: Path) -> None:
    """Streamed or not; the reservation ends with the answer, not with a report."""
    async with foreign(tmp_path) as running:
        async with running.chat("hello " * 200, max_tokens=8) as response:
            whole = await response.json()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        async with running.chat("hello " * 200, max_tokens=8, **options) as response:
            events = [line async for line in response.content if line.startswith(b"data: {")]
        pieces = [json.loads(event[6:]) for event in events]
        text = "".join(
            piece["choices"][0]["delta"].get("content", "") for piece in pieces if piece["choices"]
        )
        assert whole["choices"][0]["message"]["content"] == text
        assert pieces[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        await running.becomes("igw_reservations_open", 0)
        assert 16 == await running.metric("llm_d_epp_request_output_tokens_sum")
        assert 2 == await running.metric("llm_d_epp_request_ttft_seconds_count")


async def test_a_session_token_goes_to_the_client_and_brings_it_back(tmp_path: Path) -> None:
    """In the place of whatever the client sent; picks are random but for the token."""
    config = tmp_path / "sessions.yaml"
    config.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
        "plugins: [{type: session-affinity-filter}, {type: random-picker}]\n"
    )
    flags = ("--config-file", str(config), "--allow-experimental-plugins")
    async with foreign(tmp_path, 2, picker_flags=flags) as running:
        async with running.chat() as response:
            token = response.headers["x-session-token"]
        running.http.headers["x-session-token"] = token
        for _ in range(10):
            async with running.chat() as response:
                assert [token] == response.headers.getall("x-session-token")
        running.http.headers["x-session-token"] = "rubbish"
        tokens = set()
        for _ in range(20):
            async with running.chat() as response:
                tokens.add(response.headers["x-session-token"])
        assert 2 == len(tokens)


async def test_errors_of_the_picker_reach_the_client_as_json(tmp_path: Path) -> None:
    """There is no Envoy of ours to word them."""
    async with foreign(tmp_path, 1) as running:
        async with running.http.post(f"{running.url}/v1/chat/completions", data=b"{") as response:
            assert 400 == response.status
            assert "valid chat/completions" in (await response.json())["error"]["message"]


async def test_a_client_that_leaves_frees_its_reservation_within_a_second(tmp_path: Path) -> None:
    """The stream's end is the request's end here."""
    async with foreign(tmp_path, 1, "--speed", "1") as running:
        response = await running.chat(stream=True, max_tokens=4000)
        await response.content.readany()
        response.close()
        await running.becomes("igw_reservations_open", 0, within_seconds=1.0)


async def test_requests_with_trailers_without_bodies_and_with_large_ones_are_served(tmp_path: Path) -> None:
    """Every shape of a request takes the same path."""
    flags = (
        "--speed", "1000000000", "--max-model-len", "8000000", "--num-gpu-blocks", "8000", "--block-size", "1000",
    )  # fmt: skip
    async with foreign(tmp_path, 1, *flags) as running:
        host, _, port = running.url.removeprefix("http://").rpartition(":")
        body = json.dumps(
            {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        ).encode()
        async with asyncio.timeout(10):
            assert b'"usage"' in await http2_with_trailers(host, int(port), "/v1/chat/completions", body)
        async with running.http.get(f"{running.url}/v1/models") as response:
            assert 200 == response.status
        async with running.chat("x" * (20 << 20), max_tokens=1) as response:
            assert (20 << 20) // 4 < (await response.json())["usage"]["prompt_tokens"]
        await running.becomes("igw_reservations_open", 0)
        assert 3 == await running.metric("llm_d_epp_request_total")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_answers_without_a_body_end_their_reservation(tmp_path: Path, method: str) -> None:
    """Whatever the model server makes of the request."""
    async with foreign(tmp_path, 1) as running:
        async with running.http.request(method, f"{running.url}/health") as response:
            await response.read()
        await running.becomes("igw_reservations_open", 0)


@pytest.mark.parametrize(
    ("request_mode", "response_mode"),
    [
        ("BUFFERED", "BUFFERED"),
        ("BUFFERED_PARTIAL", "STREAMED"),
        ("STREAMED", "STREAMED"),
        ("BUFFERED", "NONE"),
        ("NONE", "NONE"),
    ],
)
async def test_a_gateway_may_send_bodies_in_any_mode(
    tmp_path: Path, request_mode: str, response_mode: str
) -> None:
    """Small and large, whole and streamed answers; usage is learnt where answers are shown. A refusal in the middle reaches the client."""
    modes = {
        "request_body_mode": request_mode, "request_trailer_mode": "SKIP",
        "response_body_mode": response_mode, "response_trailer_mode": "SKIP",
    }  # fmt: skip
    flags = ("--speed", "1000000000", "--max-model-len", "1000000", "--num-gpu-blocks", "8000", "--block-size", "1000")  # fmt: skip
    async with foreign(tmp_path, 2, *flags, modes=modes) as running:
        for size, stream in ((200, False), (200, True), (500_000, False)):
            async with running.chat("x" * size, max_tokens=8, stream=stream) as response:
                assert 200 == response.status, await response.text()
                assert b"[DONE]" in (said := await response.read()) or json.loads(said)["usage"]
        assert 3 == await running.metric("llm_d_epp_request_total")
        read = request_mode in ("BUFFERED", "BUFFERED_PARTIAL")
        async with running.http.post(f"{running.url}/v1/chat/completions", data=b"{" * 200) as response:
            assert 400 == response.status
            assert ("x-llm-d-request-dropped-reason" in response.headers) is read
        if response_mode == "NONE":  # nobody tells of the end
            assert 0 == await running.metric("llm_d_epp_request_output_tokens_sum")
        else:
            await running.becomes("igw_reservations_open", 0)
            assert 0 < await running.metric("llm_d_epp_request_output_tokens_sum")
