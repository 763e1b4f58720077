"""The route over which servers hand prompts to each other, and the refusals of requests that ask for it.

What is handed over is decided in the room `transfer`.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.serving import Serving
from igw.simulator.transfer.handover import SIDE_CHANNEL, Notice
from igw.simulator.transfer.holdings import NotHeldError

_decoder = msgspec.json.Decoder(Notice)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the side channel, on servers that take part in disaggregated serving."""
    transfers = serving.transfers
    if transfers is None:
        return []

    async def answer(request: web.Request) -> web.Response:
        notice = decode(_decoder, await request.read())
        if notice.done:
            return json_response(b"{}", 200 if transfers.done(notice) else 404)
        try:
            return json_response(msgspec.json.encode(transfers.read(notice)))
        except NotHeldError as error:
            raise ApiError(404, str(error), kind="NotFoundError") from error

    return [web.post(SIDE_CHANNEL, answer)]
