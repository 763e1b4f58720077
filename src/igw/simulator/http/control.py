"""What operators ask of a server: health, version, load, sleep.

Its metrics page is in the room `metrics`, its faults are in `faults`.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError
from igw.simulator.http.stream import VERSION
from igw.simulator.serving import Serving


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes under vLLM's names."""
    return [*_state(serving), *_sleep(serving)]


def _state(serving: Serving) -> list[web.RouteDef]:
    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=200 if serving.ready else 503)

    async def version(_request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode({"version": VERSION}))

    async def load(_request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode({"server_load": serving.load}))

    return [
        web.get("/health", health),
        web.get("/ping", health),
        web.post("/ping", health),
        web.get("/version", version),
        web.get("/load", load),
    ]


def _sleep(serving: Serving) -> list[web.RouteDef]:
    async def sleep(request: web.Request) -> web.Response:
        level = request.query.get("level", "1")
        if level not in {"1", "2"}:
            raise ApiError(400, f"The level of sleep is 1 or 2, got {level!r}.", param="level")
        serving.sleep(int(level))
        return web.Response()

    async def wake_up(_request: web.Request) -> web.Response:
        serving.wake()
        return web.Response()

    async def is_sleeping(_request: web.Request) -> web.Response:
        asleep = serving.engine.statistics().asleep
        return json_response(msgspec.json.encode({"is_sleeping": asleep}))

    async def reset_prefix_cache(_request: web.Request) -> web.Response:
        # vLLM answers 200 without a body, whether or not anything was reset; here the body tells.
        done = serving.ranks.reset_prefix_cache()
        return json_response(msgspec.json.encode({"success": done}))

    return [
        web.post("/sleep", sleep),
        web.post("/wake_up", wake_up),
        web.get("/is_sleeping", is_sleeping),
        web.post("/reset_prefix_cache", reset_prefix_cache),
    ]
