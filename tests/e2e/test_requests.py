"""What clients get through the real Envoy, the real picker and simulated servers, when all is well and when they err."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from igw.gateway.settings import GatewaySettings
from igw.simulator.text import answer, render_chat, tokenize
from tests.e2e.harness import MODEL, stack


async def test_the_openai_sdk_gets_right_answers_streamed_or_not_and_caches_are_hit(tmp_path: Path) -> None:
    """The main job: a conversation's second turn goes where its first one is cached."""
    async with (
        stack(tmp_path, servers=3) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="x") as client,
    ):
        messages = [{"role": "system", "content": "You are terse. " * 100}, {"role": "user", "content": "Hi"}]
        whole = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)  # type: ignore[arg-type]
        text = whole.choices[0].message.content
        assert "".join(answer(tokenize(render_chat(messages)), 8)) == text
        # A request that is still thought to be under way is work that another endpoint does not have.
        await running.becomes("igw_reservations_open", 0)
        messages += [{"role": "assistant", "content": str(text)}, {"role": "user", "content": "More"}]
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=messages,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},  # type: ignore[arg-type]
        )
        chunks = [chunk async for chunk in stream]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(answer(tokenize(render_chat(messages)), 8)) == "".join(pieces)
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens > 300
        await running.becomes("igw_reservations_open", 0)
        assert 2 == await running.metric("llm_d_epp_request_duration_seconds_count")
        assert usage.prompt_tokens_details.cached_tokens == await running.metric(
            "llm_d_epp_request_cached_tokens_sum"
        )


async def test_bad_requests_get_openai_errors_that_say_what_is_wrong(tmp_path: Path) -> None:
    """400 for what no retry can cure; the model server is not bothered."""
    cases = [
        (b"not json", "not a valid chat/completions request"),
        (b'{"messages": [{}]}', "model not found in request body"),
        (b'{"model": 3, "messages": [{}]}', "`model` in the request body is not a string"),
        (b'{"model": "llama"}', "`messages` not found"),
    ]
    async with stack(tmp_path, servers=1) as running:
        for body, said in cases:
            async with running.http.post(f"{running.url}/v1/chat/completions", data=body) as response:
                error = (await response.json())["error"]
                assert (400, "rejected-bad-request") == (
                    response.status, response.headers["x-llm-d-request-dropped-reason"],
                )  # fmt: skip
            assert said in error["message"]
            assert "invalid_request_error" == error["type"]
        assert len(cases) == await running.metric("llm_d_epp_request_error_total")


async def test_a_pool_without_endpoints_is_503_with_reason_and_retry_after(tmp_path: Path) -> None:
    """For POST and GET alike, and as JSON."""
    async with stack(tmp_path, servers=0) as running:
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            body = {"model": MODEL, "messages": [{}]} if method == "POST" else None
            async with running.http.request(method, running.url + path, json=body) as response:
                assert (503, "1", "rejected-no-endpoints") == (
                    response.status, response.headers["retry-after"],
                    response.headers["x-llm-d-request-dropped-reason"],
                )  # fmt: skip
                assert "has no endpoint" in (await response.json())["error"]["message"]


@pytest.mark.parametrize("mode", ["Buffered", "Streamed"])
async def test_a_body_over_the_limit_is_413(tmp_path: Path, mode: str) -> None:
    """Envoy refuses what it would have to keep, the picker what passes through it in pieces."""
    annotations = {"igw.dev/request-body": mode}
    settings = GatewaySettings(max_request_body_bytes=1 << 20)
    flags = ("--max-body-bytes", str(1 << 20))
    async with stack(
        tmp_path, 1, route_annotations=annotations, settings=settings, picker_flags=flags
    ) as running:
        async with running.chat("x" * (2 << 20)) as response:
            assert (413, "rejected-too-large") == (
                response.status, response.headers["x-llm-d-request-dropped-reason"],
            )  # fmt: skip
            assert "error" in await response.json()
        async with running.chat() as response:
            assert 200 == response.status


async def test_unknown_paths_and_requests_without_a_body_are_balanced_like_any_other(tmp_path: Path) -> None:
    """GET /v1/models, and a path nobody knows, are placed by the picker and answered by a model server."""
    async with stack(tmp_path, servers=2) as running:
        async with running.http.get(f"{running.url}/v1/models") as response:
            assert [MODEL] == [model["id"] for model in (await response.json())["data"]]
        async with running.http.post(f"{running.url}/some/path", data=b"\x00\x01") as response:
            assert 404 == response.status  # the model server's word
            assert "x-llm-d-request-dropped-reason" not in response.headers
        assert 2 == await running.metric("llm_d_epp_request_total")
        await running.becomes("igw_reservations_open", 0)


async def test_control_headers_of_clients_neither_steer_nor_reach_the_server(tmp_path: Path) -> None:
    """A client that names an endpoint does not get its way, with the picker up or down."""
    async with stack(tmp_path, servers=2) as running:
        elsewhere = {
            "x-gateway-destination-endpoint": "127.0.0.1:1",
            "x-gateway-destination-endpoint-subset": "10.0.0.1:1",
            "test-epp-endpoint-selection": "10.0.0.1:1",
        }
        url, body = f"{running.url}/v1/chat/completions", {"model": MODEL, "messages": [], "max_tokens": 1}
        body["messages"] = [{"role": "user", "content": "hi"}]
        async with running.http.post(url, json=body, headers=elsewhere) as response:
            assert 200 == response.status
        await running.faults(1, unready=True)
        running.picker.kill()
        await running.picker.ended()

        async def seen_unready() -> bool:
            async with running.http.get(f"http://{running.gateway.admin_address}/clusters") as page:
                return f"127.0.0.1:{running.ports[1]}::health_flags::/failed_active_hc" in await page.text()

        await running.until(seen_unready)
        unready = {"x-gateway-destination-endpoint": f"127.0.0.1:{running.ports[1]}"}
        for _ in range(4):
            async with running.http.post(url, json=body, headers=unready) as response:
                assert 200 == response.status


@pytest.mark.parametrize(("mode", "copies"), [("Auto", 2), ("Streamed", 2), ("Buffered", 4)])
async def test_a_body_of_20_mb_passes_and_copies_in_the_picker_are_few(
    tmp_path: Path, mode: str, copies: int
) -> None:
    """Two copies in pieces, which is the default; in one message four for an instant, because gRPC copies it twice more."""
    flags = (
        "--speed", "1000000000", "--max-model-len", "8000000", "--num-gpu-blocks", "8000", "--block-size", "1000",
    )  # fmt: skip
    size = 20 << 20
    async with stack(
        tmp_path, 1, route_annotations={"igw.dev/request-body": mode}, server_flags=flags
    ) as running:
        async with running.chat("warm up") as response:
            assert 200 == response.status
        before = memory(running.picker.pid, "VmRSS")
        Path(f"/proc/{running.picker.pid}/clear_refs").write_text("5")  # the peak counts from here
        async with running.chat("x" * size, max_tokens=1) as response:
            answered = await response.json()
        assert size // 4 < answered["usage"]["prompt_tokens"]
        # Half a copy of room for gRPC's buffers.
        grown = memory(running.picker.pid, "VmHWM") - before
        assert grown < (copies + 0.5) * size, f"{grown / size:.2f} copies"
        await running.becomes("igw_reservations_open", 0)


def memory(pid: int, field: str) -> int:
    """Return a memory figure of a process in bytes (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


@pytest.mark.parametrize("mode", ["Buffered", "Streamed"])
async def test_a_request_with_trailers_is_served(tmp_path: Path, mode: str) -> None:
    """Legal in HTTP/2; upstream's picker waits for ever."""
    body = json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    ).encode()
    async with stack(tmp_path, 1, route_annotations={"igw.dev/request-body": mode}) as running:
        host, _, port = running.url.removeprefix("http://").rpartition(":")
        async with asyncio.timeout(10):
            answered = await http2_with_trailers(host, int(port), "/v1/chat/completions", body)
        assert b'"usage"' in answered
        assert 1 == await running.metric("llm_d_epp_request_total")
        await running.becomes("igw_reservations_open", 0)


async def http2_with_trailers(host: str, port: int, path: str, body: bytes) -> bytes:
    """Send one HTTP/2 request (RFC 9113) whose stream ends with trailers; return the answer's data frames."""

    def field(
        name: str, value: str
    ) -> bytes:  # HPACK (RFC 7541): literal without indexing, new name, no Huffman
        return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    head = b"".join(
        field(*pair)
        for pair in ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "t"),
                     ("content-type", "application/json"))
    )  # fmt: skip
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head))
    writer.write(frame(0, 0, 1, body) + frame(1, 5, 1, field("x-checksum", "1")))
    data = b""
    while True:
        prefix = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(prefix[:3], "big"))
        kind, flags = prefix[3], prefix[4]
        if kind == 0:
            data += payload
        if kind == 4 and not flags & 1:
            writer.write(frame(4, 1, 0, b""))
        if kind in (3, 7) or (kind in (0, 1) and flags & 1):
            writer.close()
            return data


async def test_a_client_that_leaves_mid_stream_frees_its_reservation_within_a_second(tmp_path: Path) -> None:
    """And its slot at the model server."""
    async with stack(tmp_path, 1, server_flags=("--speed", "1")) as running:
        response = await running.chat(stream=True, max_tokens=4000)
        await response.content.readany()
        assert 1 == await running.metric("igw_reservations_open")
        response.close()
        await running.becomes("igw_reservations_open", 0, within_seconds=1.0)

        async def idle() -> bool:
            async with running.http.get(f"http://127.0.0.1:{running.ports[0]}/metrics") as page:
                return 'num_requests_running{engine="0",model_name="llama"} 0.0' in await page.text()

        await running.until(idle)


async def test_many_at_once_are_spread_although_metrics_are_old(tmp_path: Path) -> None:
    """Load is reserved inside the pick: a burst between two scrapes does not land on one server."""
    async with stack(tmp_path, servers=3) as running:

        async def one(number: int) -> None:
            async with running.chat(f"{number}") as response:
                assert 200 == response.status

        await asyncio.gather(*(one(number) for number in range(30)))
        async with running.http.get(f"http://{running.picker_addresses['metrics']}/metrics") as response:
            page = await response.text()
        counts = [
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("llm_d_epp_scheduler_attempts_total{") and 'status="success"' in line
        ]
        assert (3, 30) == (len(counts), sum(counts))
        assert min(counts) >= 5


async def test_aborts_before_the_pick_leave_nothing_behind(tmp_path: Path) -> None:
    """Clients that go away at any moment do not leak reservations."""
    async with stack(tmp_path, servers=1) as running:
        for delay in (0.0, 0.001, 0.002, 0.005, 0.01, 0.02):
            task = asyncio.ensure_future(running.chat(max_tokens=400).__aenter__())
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
                (await task).close()
                raise asyncio.CancelledError
        await running.becomes("igw_reservations_open", 0)
