"""The routes that a server has only because it talks like another engine than vLLM."""

from __future__ import annotations

from aiohttp import web

from igw.simulator.http import sglang, tgi, triton, trtllm
from igw.simulator.serving import Serving

_OF = {
    "sglang": sglang.routes,
    "tgi": tgi.routes,
    "triton-tensorrt-llm": triton.routes,
    "trtllm-serve": trtllm.routes,
}


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of the server's dialect, none for vLLM's."""
    make = _OF.get(serving.config.dialect)
    return [] if make is None else make(serving)
