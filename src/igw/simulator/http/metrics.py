"""Where a server shows its metrics page, and what counts its HTTP requests for it. What is on it is in `metrics`."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from igw.simulator.http.call import Call
from igw.simulator.http.deciding import Choice
from igw.simulator.metrics.dialects import DIALECTS
from igw.simulator.metrics.families import Rank
from igw.simulator.metrics.page import CONTENT_TYPE, Page
from igw.simulator.serving import Serving


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of the page, where the server's dialect has it."""
    dialect = DIALECTS[serving.config.dialect]
    more = [serving.http_requests.block] if dialect.http_requests else []
    ranks = [Rank(serving.config.engine, rank.histograms, rank.number) for rank in serving.ranks]
    page = Page(dialect, serving.config.names[0], ranks, more)

    async def metrics(_request: web.Request) -> web.Response:
        text = page.render(
            [rank.engine.statistics() for rank in serving.ranks], serving.unix_seconds(), serving.sleep_level
        )
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    return [web.get(path, metrics) for path in dialect.paths]


def counting(serving: Serving) -> Middleware:
    """Return what counts requests and times them, streams to their end; it belongs outside of what makes errors answers.

    Methods that HTTP itself does not know are one, so that clients cannot make series.
    """

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = serving.clock()
        status, sent_bytes = 500, 0
        try:
            response = await handler(request)
            status, sent_bytes = response.status, response.content_length or 0
        finally:
            resource = request.match_info.route.resource
            serving.http_requests.observe(
                resource.canonical if resource else None,
                request.method if request.method in hdrs.METH_ALL else "other",
                status,
                serving.clock() - began,
                request.content_length or 0,
                sent_bytes,
            )
        return response

    return count


def count_answered(serving: Serving, call: Call, choices: list[Choice]) -> None:
    """Count what *call* asked for, now that all its choices have ended; `n` of them belong to a prompt.

    With several ranks it is counted at the first, for the choices of one prompt may have run at different ones.
    """
    histograms = serving.ranks[0].histograms
    for position in range(0, len(choices), call.n):
        sequences = [choice.sequence for choice in choices[position : position + call.n]]
        room = serving.decider.max_sequence_tokens - sequences[0].prompt_tokens
        histograms.answered(
            parallel=call.n,
            max_tokens=room if call.max_tokens is None else call.max_tokens,
            longest_tokens=max(sequence.output_tokens for sequence in sequences),
        )
