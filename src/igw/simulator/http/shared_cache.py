"""The route that says how much of a prompt is in the tier that servers share. What is in it is kept in `engine.shared`."""

from __future__ import annotations

from array import array

import msgspec
from aiohttp import web

from igw.remotecaches.simulated import PATH
from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import decode
from igw.simulator.serving import Serving


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt in tokens, of the model or the adapter that a client would ask for."""

    tokens: list[int]
    model: str | None = None
    cache_salt: str = ""


_decoder = msgspec.json.Decoder(Question)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the route, on servers that share a tier."""
    tier = serving.shared_tier
    if tier is None:
        return []

    async def answer(request: web.Request) -> web.Response:
        asked = decode(_decoder, await request.read())
        adapter = serving.names.adapter(asked.model)
        hashes = serving.decider.hashes(array("I", asked.tokens), adapter or "", asked.cache_salt)
        blocks = tier.lookup(hashes, 0, len(hashes))
        return json_response(msgspec.json.encode({"tokens": blocks * serving.config.engine.block_size}))

    return [web.post(PATH, answer)]
