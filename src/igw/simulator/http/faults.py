"""The routes that make a server misbehave: its faults, what is planned of them, and restarts.

What the bodies mean is in `igw.simulator.faults`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from igw.simulator.faults import KINDS, Faults, Planned, Restart, of_replica
from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError
from igw.simulator.serving import Serving

_T = TypeVar("_T")


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return GET and POST of `/igw/faults` and `/igw/schedule`, and POST of `/igw/restart`."""
    saboteur = serving.saboteur

    async def faults(_request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(saboteur.state.faults))

    async def set_faults(request: web.Request) -> web.Response:
        saboteur.set(_decode(await request.read(), Faults))
        return await faults(request)

    async def schedule(_request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(saboteur.state.schedule))

    async def set_schedule(request: web.Request) -> web.Response:
        planned = _decode(await request.read(), list[Planned])
        saboteur.plan(of_replica(planned, serving.config.replica))
        return await schedule(request)

    async def restart(request: web.Request) -> web.StreamResponse:
        wanted = _decode(await request.read() or b"{}", Restart)
        response = json_response(msgspec.json.encode(wanted))
        # Sent here, because a restart cuts this connection too.
        await response.prepare(request)
        await response.write_eof()
        saboteur.restart(wanted)
        return response

    return [
        web.get("/igw/faults", faults),
        web.post("/igw/faults", set_faults),
        web.get("/igw/schedule", schedule),
        web.post("/igw/schedule", set_schedule),
        web.post("/igw/restart", restart),
    ]


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        hint = f" Known faults: {', '.join(KINDS)}." if str(error).endswith(".fault`") else ""
        raise ApiError(400, f"{error}.{hint}") from error
    except msgspec.DecodeError as error:
        raise ApiError(400, f"{error}.") from error
