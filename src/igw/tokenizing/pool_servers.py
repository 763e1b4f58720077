"""The endpoints of a pool as makers of tokens: each request asks one of those that may serve it, in turn. Asking is in `rendering`."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from igw.endpoint import Endpoint, hostport
from igw.prefix.chain import Prompt
from igw.prefix.events import PORT_LABEL
from igw.request import Request
from igw.tokenizing.rendering import Renderer

_MOST_TRIED = 8


class PoolServers:
    """Asks endpoints that say by label that they publish KV events: tokens of others would be of no use."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._renderers: dict[str, Renderer] = {}
        self._turn = 0

    async def tokens(self, request: Request, endpoints: tuple[Endpoint, ...]) -> Prompt | None:
        """Return the prompt of *request* in tokens; None where nobody among *endpoints* can be asked, or knows."""
        renderer = self._next(endpoints)
        return await renderer.tokens(request) if renderer is not None else None

    def _next(self, endpoints: tuple[Endpoint, ...]) -> Renderer | None:
        for _ in range(min(len(endpoints), _MOST_TRIED)):
            self._turn += 1
            endpoint = endpoints[self._turn % len(endpoints)]
            if (
                PORT_LABEL in endpoint.labels
                and (renderer := self._renderer(endpoint, endpoints)).may_be_asked
            ):
                return renderer
        return None

    def _renderer(self, endpoint: Endpoint, endpoints: tuple[Endpoint, ...]) -> Renderer:
        renderer = self._renderers.get(endpoint.hostport)
        if renderer is None:
            if len(self._renderers) > 2 * len(endpoints):  # endpoints come and go
                self._renderers.clear()
            address = hostport(endpoint.address, endpoint.http_port or endpoint.port)
            renderer = Renderer(self._session, f"http://{address}", "", self._clock)
            self._renderers[endpoint.hostport] = renderer
        return renderer
