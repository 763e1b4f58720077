"""A trace of a request, through the real Envoy and a picker process, to a collector that speaks OTLP over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from igw.config.manifests import load
from tests.e2e.harness import Stack, stack
from tests.tracing.collector import Collector, attributes, collecting

TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "zebra-crossing-at-midnight"
PAGE = "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n"


class Server:
    """A model server that notes the headers it gets."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.port = 0

    async def chat(self, request: web.Request) -> web.Response:
        """Answer."""
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}
        message = {"role": "assistant", "content": SECRET}
        return web.json_response({"choices": [{"index": 0, "message": message}], "usage": usage})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Serve it."""
    server, app = Server(), web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/metrics", _page)
    app.router.add_get("/health", _page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = int(runner.addresses[0][1])
    try:
        yield server
    finally:
        await runner.cleanup()


async def _page(_request: web.Request) -> web.Response:
    return web.Response(text=PAGE)


@contextlib.asynccontextmanager
async def traced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> AsyncIterator[tuple[Stack, Server, Collector]]:
    """Run a stack of one server whose picker sends traces."""
    async with collecting() as collector, serving() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        async with stack(folder, servers=0, picker_flags=("--tracing", *flags)) as running:
            running.write([server.port])
            await running.gateway.update(load([running.file]))
            await running.becomes("llm_d_epp_ready_endpoints", 1)
            yield running, server, collector


async def ask(running: Stack, headers: dict[str, str], **fields: object) -> int:
    """Send a chat request that is a secret, and return its status."""
    body = {"model": "llama", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 7, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    async with running.http.post(f"{running.url}/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_the_trace_of_a_request_goes_from_its_caller_to_the_model_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts of the way, below the caller's span; the model server's caller is our span; no word of the prompt anywhere."""
    config = tmp_path / "picker.yaml"
    config.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
        "- {type: prefix-cache-scorer}\n- {type: queue-scorer}\n- {type: max-score-picker}\n"
    )
    flags = ("--trace-plugins", "--config-file", str(config))
    async with traced(tmp_path, monkeypatch, *flags) as (running, server, collector):
        caller = f"00-{TRACE}-b7ad6b7169203331-01"
        assert await ask(running, {"traceparent": caller, "x-request-id": "lunch"}) == 200
        (root,) = await collector.until("gateway.request")
        (chat,) = await collector.until("chat llama")

        assert root.trace_id.hex() == TRACE
        assert root.parent_span_id.hex() == "b7ad6b7169203331"
        assert collector.tree(root) == {
            "parse": {},
            "gateway.request_orchestration": {
                "produce": {},
                "admission": {},
                "gather": {},
                "pick": {
                    "run_scheduler_profile": {
                        "llm_d.epp.scorer.prefix-cache-scorer": {},
                        "llm_d.epp.scorer.queue-scorer": {},
                        "pick_endpoints": {},
                    }
                },
            },
            "chat llama": {"model_server.first_byte": {}, "model_server.answer": {}},
        }
        assert server.headers[0]["traceparent"] == f"00-{TRACE}-{chat.span_id.hex()}-01"

        assert attributes(chat) | {"igw.decision": "", "server.port": 0} == {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "llama",
            "gen_ai.request.stream": False,
            "gen_ai.request.max_tokens": 7,
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.usage.cache_read.input_tokens": 8,
            "http.response.status_code": 200,
            "igw.end": "complete",
            "igw.decision": "",
            "server.address": "127.0.0.1",
            "server.port": 0,
        }
        assert attributes(root)["gen_ai.request.id"] == "lunch"
        assert attributes(root)["url.path"] == "/v1/chat/completions"
        assert collector.resources[0]["service.name"] == "igw-epp"
        for span in collector.spans:
            assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert SECRET not in str(span)
        assert chat.end_time_unix_nano <= root.end_time_unix_nano

        async with running.http.get(
            f"http://{running.picker_addresses['metrics']}/metrics",
            headers={"accept": "application/openmetrics-text; version=1.0.0"},
        ) as answer:
            page = await answer.text()
        (ttft,) = [
            line
            for line in page.splitlines()
            if line.startswith("llm_d_epp_request_duration_seconds_bucket") and TRACE in line
        ]
        assert f'# {{trace_id="{TRACE}"}}' in ttft
        assert page.endswith("# EOF\n")


async def test_who_has_chosen_otherwise_is_heeded_and_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller without a trace to be kept; none of its own and none drawn; and one that fails."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    async with traced(tmp_path, monkeypatch) as (running, server, collector):
        unkept = f"00-{TRACE}-b7ad6b7169203331-00"
        assert await ask(running, {"traceparent": unkept}) == 200
        assert server.headers[0]["traceparent"] == unkept
        assert await ask(running, {}) == 200
        assert server.headers[1]["traceparent"].endswith("-00")
        assert await ask(running, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, messages=None) == 400
        (root,) = await collector.until("gateway.request")
        assert attributes(root)["http.response.status_code"] == 400
        assert attributes(root)["error.type"] == "BadRequest"
        assert root.status.code == 2
        assert [each.name for each in collector.spans] == ["gateway.request"]
