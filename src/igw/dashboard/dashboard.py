"""The dashboard as one part of a picker: what it counts, and what it serves. The page itself is `static/`; who may ask is `igw.debugging`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from importlib import resources

import msgspec
from aiohttp import web

from igw.dashboard.feed import Feed
from igw.dashboard.state import State
from igw.dashboard.traffic import Recent
from igw.errors import Rejected
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.holding import Holding
from igw.routing.pools import Pools

PAGE = "/debug/dashboard/"
PATH = "/debug/overview"
EVENTS = PATH + "/events"
_MOST_VIEWERS = 32
_FILES = {"index.html": "text/html", "style.css": "text/css"} | dict.fromkeys(
    ("app.js", "cards.js", "charts.js", "decisions.js", "dialog.js", "dom.js", "format.js", "rows.js", "servers.js"),
    "text/javascript",
)  # fmt: skip
_HEADERS = {
    # Nothing but what this picker serves itself; no inline script, no inline style, in nobody's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

Refused = Callable[[Request | None, Rejected], None]


class Dashboard:
    """Owner of what is counted for it. Until somebody looks that is all that it does."""

    def __init__(
        self,
        pools: Pools,
        prefix: PrefixIndex,
        ledger: Ledger,
        holding: Callable[[], Holding],
        clock: Callable[[], float],
    ) -> None:
        """Take what is shown; *holding* is asked for when somebody looks."""
        self._recent = Recent(clock)
        state = State(pools, prefix, ledger, self._recent, clock)
        self._feed = Feed(lambda: msgspec.json.encode(state.overview(holding())), clock)
        ledger.listen(self._recent.ended)

    def refusing(self, refused: Refused) -> Refused:
        """Return what is told of requests that got an error: *refused*, and what counts them."""

        def both(request: Request | None, rejected: Rejected) -> None:
            refused(request, rejected)
            self._recent.refused()

        return both

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes for an HTTP server."""
        return (
            web.get("/", self._elsewhere),
            web.get(PAGE.rstrip("/"), self._elsewhere),
            web.get(PAGE, self._file),
            web.get(PAGE + "{name}", self._file),
            web.get(PATH, self._overview),
            web.get(EVENTS, self._events),
        )

    def close(self) -> None:
        """End the streams, which would keep a server from stopping."""
        self._feed.close()

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": PAGE})

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in _FILES:
            raise web.HTTPNotFound(headers=_HEADERS)
        return web.Response(body=_read(name), content_type=_FILES[name], charset="utf-8", headers=_HEADERS)

    async def _overview(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._feed.frame(), content_type="application/json", headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._feed.viewers >= _MOST_VIEWERS:
            body = msgspec.json.encode(
                {"error": f"{_MOST_VIEWERS} look already; close a dashboard, or ask {PATH}"}
            )
            return web.Response(status=503, body=body, content_type="application/json", headers=_HEADERS)
        stream = web.StreamResponse(headers={**_HEADERS, "content-type": "text/event-stream"})
        await stream.prepare(request)
        async with aclosing(self._feed.frames()) as frames:
            with suppress(ConnectionError):  # nobody looks any more
                async for frame in frames:
                    await stream.write(b"data: " + frame + b"\n\n")
        return stream


def _read(name: str) -> bytes:
    return (resources.files("igw.dashboard") / "static" / name).read_bytes()
