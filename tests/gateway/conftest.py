"""Model servers, a picker, manifests and a real Envoy for the gateway's tests."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from igw.config.manifests import Manifests, load
from igw.gateway.run import GatewayRunner
from igw.gateway.settings import GatewaySettings

HERE = Path(__file__).parent


def _picker_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gateway_test_picker", HERE / "picker.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def wire() -> ModuleType:
    """The picker's module, for its Pick and Answer."""
    return _picker_module()


@pytest.fixture
async def picker(wire: ModuleType) -> AsyncIterator[Any]:
    """A picker that leaves the choice to Envoy until a test says otherwise."""
    picker = wire.Picker()
    await picker.start()
    yield picker
    await picker.stop()


class Server:
    """A model server: tells what it received, or streams *pieces* with the gate in the middle (before the headers of a lone piece)."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.healthy = True
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port it had before if it was started before."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._any)
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        self.gate.set()
        await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _any(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.reached.set()
        if not self.pieces:
            return web.json_response(
                {
                    "server": self.address,
                    "path": request.path,
                    "length": len(body),
                    "headers": {k.lower(): v for k, v in request.headers.items()},
                }
            )
        if len(self.pieces) == 1:
            await self.gate.wait()
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        half = len(self.pieces) // 2
        for index, piece in enumerate(self.pieces):
            if index == half:
                await self.gate.wait()
            await answer.write(piece)
        await answer.write_eof()
        return answer


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[], Awaitable[Server]]]:
    """Starts model servers."""
    async with AsyncExitStack() as stack:

        async def start() -> Server:
            server = Server()
            await server.start()
            stack.push_async_callback(server.stop)
            return server

        yield start


def objects(
    pools: dict[str, list[str]],
    rules: Any = None,
    *,
    fail: str = "FailOpen",
    hostnames: Any = (),
    annotations: Any = None,
    protocol: str = "http",
) -> list[dict[str, Any]]:
    """Return a Gateway, a route with *rules* (default: all to the first pool) and pools with the given endpoints."""
    first = next(iter(pools), "none")
    api = "gateway.networking.k8s.io/v1"
    written: list[dict[str, Any]] = [
        {
            "apiVersion": api,
            "kind": "Gateway",
            "metadata": {"name": "web"},
            "spec": {
                "gatewayClassName": "igw",
                "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}],
            },
        },
        {
            "apiVersion": api,
            "kind": "HTTPRoute",
            "metadata": {"name": "route", "annotations": annotations or {}},
            "spec": {
                "parentRefs": [{"name": "web"}],
                "hostnames": list(hostnames),
                "rules": rules if rules is not None else [{"backendRefs": [backend(first)]}],
            },
        },
    ]
    for name, addresses in pools.items():
        written.append(
            {
                "apiVersion": "inference.networking.k8s.io/v1",
                "kind": "InferencePool",
                "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": {"pool": name}},
                    "targetPorts": [{"number": 8000}],
                    "appProtocol": protocol,
                    "endpointPickerRef": {"name": "picker", "port": {"number": 9002}, "failureMode": fail},
                },
            }
        )
        written.append(
            {
                "endpoints": [
                    {
                        "name": f"{name}-{index}",
                        "address": address.rpartition(":")[0],
                        "port": address.rpartition(":")[2],
                        "labels": {"pool": name},
                    }
                    for index, address in enumerate(addresses)
                ]
            }
        )
    return written


def backend(name: str, **fields: Any) -> dict[str, Any]:
    """Return a reference to the pool *name*."""
    return {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, **fields}


@pytest.fixture
def manifests(tmp_path: Path) -> Callable[..., Manifests]:
    """Writes what `objects` makes of its arguments to a file, and reads it."""

    def write(*args: Any, **kwargs: Any) -> Manifests:
        path = tmp_path / "manifests.yaml"
        path.write_text("\n---\n".join(json.dumps(item) for item in objects(*args, **kwargs)))
        return load([path])

    return write


class Client:
    """Asks a gateway over HTTP."""

    def __init__(self, runner: GatewayRunner, session: aiohttp.ClientSession) -> None:
        self.runner = runner
        self.session = session

    @property
    def url(self) -> str:
        """The first listener's address."""
        return "http://" + next(iter(self.runner.addresses.values()))

    async def ask(
        self,
        path: str = "/v1/completions",
        body: bytes | None = b'{"model": "m"}',
        method: str = "",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and JSON body of the answer."""
        async with self.session.request(
            method or ("GET" if body is None else "POST"),
            self.url + path,
            data=None if body is None else io.BytesIO(body),
            headers=headers,
        ) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.json()


@pytest.fixture
async def gateway(picker: Any) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Starts an Envoy for manifests, with the test's picker."""
    async with AsyncExitStack() as stack:

        async def start(manifests: Manifests, **settings: Any) -> Client:
            chosen = GatewaySettings(**{"picker": picker.address, "free_ports": True, **settings})
            runner = await stack.enter_async_context(GatewayRunner(manifests, chosen))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
            )
            return Client(runner, session)

        yield start


@pytest.fixture
def to_pool() -> Callable[..., dict[str, Any]]:
    """The function `backend`, for rules."""
    return backend
