"""The Envoy of a standalone picker: its configuration as it is installed, with the real Envoy, a picker process and simulated servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.proxy import envoy_of, free_port, listening
from igw.kubernetes.install.rendered import Release, text
from tests.e2e.harness import Stack, stack


def configuration(picker: str) -> tuple[dict[str, Any], int, int]:
    """Return Envoy's configuration as it is installed, but for its ports, with those of clients and of readiness."""
    objects = yaml.safe_load_all(text("standalone", Release("llama", "models", "igw:1", {"app": "llama"})))
    (written,) = (
        each["data"]["envoy.yaml"] for each in objects if each["metadata"]["name"] == "llama-epp-envoy"
    )
    config = yaml.safe_load(written)
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    clients, readiness = free_port(), free_port()
    for listener, port in zip(config["static_resources"]["listeners"], (clients, readiness), strict=True):
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    (endpoint,) = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = int(picker.rpartition(":")[2])
    return config, clients, readiness


@contextlib.asynccontextmanager
async def standalone(folder: Path) -> AsyncIterator[tuple[Stack, str]]:
    """Run two servers, a picker and this Envoy; with where it says whether it is ready."""
    async with stack(folder, 2, server_flags=("--speed", "20")) as running:
        config, clients, readiness = configuration(running.picker_addresses["grpc"])
        async with envoy_of(folder, config):
            await listening(clients)
            running.url = f"http://127.0.0.1:{clients}"
            yield running, f"http://127.0.0.1:{readiness}/ready"


async def test_requests_go_where_the_picker_says_whatever_a_client_writes(tmp_path: Path) -> None:
    """Its header names no endpoint of the pool, and is not believed."""
    async with standalone(tmp_path) as (running, _):
        running.http.headers["x-gateway-destination-endpoint"] = "127.0.0.1:1"
        for _ in range(4):
            async with running.chat() as response:
                assert response.status == 200
                assert (await response.json())["usage"]["completion_tokens"] == 4
        await running.becomes("llm_d_epp_request_total", 4)


async def test_it_is_ready_while_its_picker_is(tmp_path: Path) -> None:
    """So Services leave a Pod out whose picker is gone; requests that come all the same are errors and reach no server."""
    async with standalone(tmp_path) as (running, ready):

        async def says(status: int) -> bool:
            async with running.http.get(ready) as response:
                return response.status == status

        await running.until(lambda: says(200))
        await running.picker.stop()
        await running.until(lambda: says(503))
        async with running.chat() as response:
            assert response.status in {500, 503}
