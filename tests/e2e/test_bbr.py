"""Routes chosen by what a body says, through the real Envoy: ours with the picker or with `igw bbr`, and somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from benchmarks.proxy import free_port, listening
from igw.config.manifests import load
from igw.gateway.run import GatewayRunner
from igw.gateway.settings import GatewaySettings
from igw.stack.child import Child
from tests.e2e.harness import igw
from tests.e2e.test_requests import http2_with_trailers
from tests.gateway.conftest import Server, backend

MODEL, BASE = "x-gateway-model-name", "x-gateway-base-model-name"
FREE = ("--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0")


def adapters(*names: str) -> dict[str, Any]:
    """Return the adapter map of the base model `llama`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "llama", "labels": {"inference.networking.k8s.io/bbr-managed": "true"}},
        "data": {"baseModel": "llama", "adapters": yaml.safe_dump(list(names))},
    }


def matching(pool: str, mark: str, *headers: tuple[str, str], path: str = "/") -> dict[str, Any]:
    """Return a rule to *pool* that marks what it has matched."""
    mutation = {"set": [{"name": "x-rule", "value": mark}]}
    return {
        "matches": [
            {"path": {"value": path}, "headers": [{"name": name, "value": value} for name, value in headers]}
        ],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": mutation}],
        "backendRefs": [backend(pool)],
    }


class Site:
    """Two pools of one server each behind one address."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.file = folder / "site.yaml"
        self.mode = mode
        self.servers = {"llama": Server(), "qwen": Server()}
        self.picker: Child
        self.metrics = ""
        self.url = ""
        self.http: aiohttp.ClientSession

    def write(self, *names: str) -> None:
        """Write the manifests, with these adapters of `llama`."""
        pools = [
            {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": name},
             "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}],
                      "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}}}
            for name in self.servers
        ]  # fmt: skip
        endpoints = [
            {"name": name, "address": "127.0.0.1", "port": str(server.port), "labels": {"app": name}}
            for name, server in self.servers.items()
        ]
        rules = [
            matching("llama", "base", (BASE, "llama")),
            matching("qwen", "model", (MODEL, "qwen")),
            matching("qwen", "path", path="/plain"),
        ]
        documents = [
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
             "metadata": {"name": "g", "annotations": {"igw.dev/route-by-body": self.mode}},
             "spec": {"gatewayClassName": "igw", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
             "spec": {"parentRefs": [{"name": "g"}], "rules": rules}},
            *pools, {"endpoints": endpoints}, adapters(*names),
        ]  # fmt: skip
        self.file.write_text(yaml.safe_dump_all(documents))

    async def post(
        self, body: bytes, path: str = "/v1/chat/completions", *, chunked: bool = False, **headers: str
    ) -> tuple[int, Any]:
        """Return status and JSON of the answer."""
        data: Any = io.BytesIO(body)
        if chunked:

            async def pieces() -> AsyncIterator[bytes]:
                for at in range(0, len(body), 100_000):
                    yield body[at : at + 100_000]

            data = pieces()
        sent = {"content-type": "application/json", **headers}
        async with self.http.post(self.url + path, data=data, headers=sent) as answer:
            return answer.status, await answer.json()

    async def rule(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> str:
        """Return what the rule that served a request has marked it with, or the code of the error."""
        status, said = await self.post(body, path, **headers)
        return said["headers"]["x-rule"] if status == 200 else said["error"]["code"]


@contextlib.asynccontextmanager
async def site(folder: Path, mode: str = "Auto", *, own_process: bool = False) -> AsyncIterator[Site]:
    """Run a site until the block is left; *own_process*: with `igw bbr` instead of the picker's."""
    made = Site(folder, mode)
    async with contextlib.AsyncExitStack() as exits:
        for server in made.servers.values():
            await server.start()
            exits.push_async_callback(server.stop)
        made.write("food")
        made.picker = igw("picker", "epp", "-f", str(made.file), *FREE, "--drain-timeout", "1")
        exits.push_async_callback(made.picker.stop)
        said = await made.picker.start()
        made.metrics = f"http://{said['metrics']}/metrics"
        settings = GatewaySettings(picker=said["grpc"], free_ports=True)
        if own_process:
            router = igw("bbr", "bbr", "-f", str(made.file), *FREE, "--drain-timeout", "1")
            exits.push_async_callback(router.stop)
            own = (await router.start())["grpc"]
            settings = GatewaySettings(picker=settings.picker, body_router=own, free_ports=True)
        gateway = await exits.enter_async_context(GatewayRunner(load([made.file]), settings))
        made.url = f"http://{next(iter(gateway.addresses.values()))}"
        made.http = await exits.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        )
        yield made


def chat(model: str, size: int = 0) -> bytes:
    """Return a chat request, the model behind its messages."""
    content = "x" * size or "hello"
    return json.dumps({"messages": [{"role": "user", "content": content}], "model": model}).encode()


@pytest.mark.parametrize(
    ("mode", "own_process"), [("Auto", False), ("Streamed", False), ("Buffered", True), ("Streamed", True)]
)
async def test_the_route_follows_the_body(tmp_path: Path, mode: str, own_process: bool) -> None:
    """In the picker's process or another one, however bodies travel."""
    async with site(tmp_path, mode, own_process=own_process) as running:
        await names_are_followed(running)
        await bodies_arrive_whole(running)


async def names_are_followed(running: Site) -> None:
    """By base model, by model, by neither; what clients say in the headers counts for nothing; what a rule changes is changed."""
    assert await running.rule(chat("llama")) == "base"
    assert await running.rule(chat("food")) == "base"
    assert await running.rule(chat("qwen")) == "model"
    assert await running.rule(chat("qwen"), "/plain/x") == "path"
    assert await running.rule(chat("none")) == "model_not_found"
    assert await running.rule(chat("none"), **{BASE: "llama", MODEL: "qwen"}) == "model_not_found"
    assert await running.rule(b'{"messages": []}', **{BASE: "llama"}) == "route_not_found"
    assert await running.rule(b"{") == "BadRequest"
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nfood\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert await running.rule(form, "/v1/x", **kind) == "base"
    async with running.http.get(running.url + "/plain", headers={MODEL: "llama"}) as answer:
        seen = (await answer.json())["headers"]
    assert seen["x-rule"] == "path"
    assert MODEL not in seen


async def bodies_arrive_whole(running: Site) -> None:
    """With a declared length or without, small, above a mebibyte, 20 MB; with trailers behind them."""
    for size in (10, 200_000, 2 << 20, 20 << 20):
        for chunked in (False, True):
            body = chat("qwen", size)
            status, said = await running.post(body, chunked=chunked)
            assert (status, said.get("length")) == (200, len(body))
            assert said["headers"][MODEL] == "qwen"
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    body = chat("food")
    async with asyncio.timeout(10):
        answer = await http2_with_trailers(host, int(port), "/v1/chat/completions", body)
    said = json.loads(answer)
    assert (said["length"], said["headers"]["x-rule"]) == (len(body), "base")


async def test_an_edited_map_is_followed_and_a_bad_edit_is_not(tmp_path: Path) -> None:
    """An adapter comes, another goes, between two requests."""
    async with site(tmp_path) as running:
        running.write("law")
        async with asyncio.timeout(10):
            while await running.rule(chat("law")) != "base":
                await asyncio.sleep(0.02)
        assert await running.rule(chat("food")) == "model_not_found"
        running.file.write_text(running.file.read_text().replace("baseModel: llama", "baseModel: ''"))
        async with asyncio.timeout(10):
            while True:
                async with running.http.get(running.metrics) as page:
                    if 'igw_config_reloads_total{result="refused"} 1' in await page.text():
                        break
                await asyncio.sleep(0.02)
        assert await running.rule(chat("law")) == "base"


async def test_without_the_router_nobody_is_sent_to_a_pool_by_chance(tmp_path: Path) -> None:
    """503 with the reason, as soon as it is known to be gone; even where pools fail open."""
    async with site(tmp_path) as running:
        assert await running.rule(chat("llama")) == "base"
        await running.picker.stop()
        async with asyncio.timeout(10):
            while True:
                async with running.http.post(running.url + "/v1/x", data=chat("llama")) as answer:
                    if answer.status == 503 and answer.content_type == "application/json":
                        break
                await asyncio.sleep(0.02)
        assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-picker-unavailable"


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


async def test_a_large_answer_costs_no_memory_and_is_not_held_up(tmp_path: Path) -> None:
    """Somebody else's Envoy shows every answer to `igw bbr`: 300 MB pass, the first byte long before the last."""
    server = Server()
    server.pieces = [bytes(1 << 20)] * 300
    router = igw("bbr", "bbr", *FREE, "--drain-timeout", "1")
    async with contextlib.AsyncExitStack() as exits:
        await server.start()
        exits.push_async_callback(server.stop)
        exits.push_async_callback(router.stop)
        said = await router.start()
        url = await exits.enter_async_context(foreign(tmp_path, said["grpc"], server.port))
        http = await exits.enter_async_context(aiohttp.ClientSession())
        before = resident_bytes(router.pid)
        async with http.post(url + "/v1/chat/completions", json={"model": "m"}) as answer:
            received = len(await answer.content.readany())
            server.gate.set()  # half of it waits for this
            most = before
            async for piece in answer.content.iter_any():
                received += len(piece)
                most = max(most, resident_bytes(router.pid))
        assert received == 300 << 20
        assert most - before < 64 << 20


@contextlib.asynccontextmanager
async def foreign(folder: Path, router: str, server: int) -> AsyncIterator[str]:
    """Run `examples/envoy-full-duplex.yaml` with *router* in the picker's place and everything sent to one server."""
    example = Path(__file__).parents[2] / "examples" / "envoy-full-duplex.yaml"
    config, port = yaml.safe_load(example.read_text()), free_port()
    resources = config["static_resources"]
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = port
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    epp, picked = resources["clusters"]
    for cluster, to in ((epp, int(router.rpartition(":")[2])), (picked, server)):
        where = {"socket_address": {"address": "127.0.0.1", "port_value": to}}
        cluster["load_assignment"] = {
            "cluster_name": cluster["name"],
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
        }
    resources["clusters"][1] = {
        "name": "picked", "type": "STATIC", "load_assignment": picked["load_assignment"],
    }  # fmt: skip
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    binary = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    assert binary is not None
    child = await asyncio.create_subprocess_exec(
        binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        await child.wait()
