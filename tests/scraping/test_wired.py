"""Scraping as the whole picker does it: engines by configuration and label, and what its metrics page says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.errors import ConfigError
from igw.scraping.access import Access

POOL = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec:
  selector: {matchLabels: {app: llama}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: epp, port: {number: 9002}}
"""
CONFIG = """
---
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: metrics-data-source
  parameters: {path: /stats}
- type: core-metrics-extractor
  parameters:
    engineConfigs:
    - {name: mine, queuedRequestsSpec: "jobs{state=queued}", customMetrics: [{attributeKey: Heat, metricSpec: celsius}]}
- type: queue-scorer
dataLayer:
  sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]
"""


async def test_what_files_say_of_engines_takes_effect(tmp_path: Path) -> None:
    """Path, engine by label, custom metric; an endpoint of another engine beside it; all of it is shown."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        port = request.transport.get_extra_info("sockname")[1]
        own = 'jobs{state="queued"} 7\njobs{state="done"} 99\ncelsius 61.5\n'
        told.put_nowait(request.path)
        return web.Response(text=own if port == ports[0] else "tgi_queue_size 3\ntgi_batch_current_size 1\n")

    app = web.Application()
    app.router.add_get("/stats", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for _ in range(2):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports = [address[1] for address in runner.addresses]
    path = tmp_path / "all.yaml"
    path.write_text(
        f"{POOL}---\nendpoints:\n"
        f"- {{name: a, address: 127.0.0.1, port: {ports[0]}, labels: {{app: llama, llm-d.ai/engine-type: mine}}}}\n"
        f"- {{name: b, address: 127.0.0.1, port: {ports[1]}, labels: {{app: llama}}}}\n{CONFIG}"
    )
    settings = PickerSettings(paths=(path,), grpc_port=0, health_port=0, metrics_port=0, drain_seconds=0.1)
    try:
        async with Picker(settings).running() as addresses, ClientSession() as http, asyncio.timeout(30):
            page = ""
            while page.count("igw_engine_info{") < 2:
                assert await told.get() == "/stats"
                async with http.get(f"http://{addresses.metrics}/metrics") as response:
                    page = await response.text()
    finally:
        await runner.cleanup()
    first, second = f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    assert f'name="default/llama",endpoint="{first}",engine="mine"' in page
    assert f'endpoint="{second}",engine="tgi",chosen_by="page"' in page
    assert 'llm_d_epp_per_endpoint_queue_size{name="llama",model_server_endpoint="a"} 7\n' in page
    assert 'llm_d_epp_per_endpoint_queue_size{name="llama",model_server_endpoint="b"} 3\n' in page


def test_a_certificate_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """A file that is edited badly is refused, and nothing has changed."""
    path = tmp_path / "all.yaml"
    path.write_text(POOL + CONFIG.replace("path: /stats", f"scheme: https, caCertPath: {tmp_path}/ca.crt"))
    with pytest.raises(ConfigError, match="cannot be read") as error:
        Picker(PickerSettings(paths=(path,))).use(load([path]))
    assert error.value.where == f"{tmp_path}/ca.crt"
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    flags = PickerSettings(paths=(), metrics_access=Access(token_file=tmp_path / "token"))
    with pytest.raises(ConfigError):
        Picker(flags).use(load([pool]))
