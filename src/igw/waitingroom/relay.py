"""From the waiting room to the model server and back: the request as it came, the answer's events, and how it went. Waiting is `server`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from igw.bounded import whole
from igw.decision import Decision
from igw.outcomes.outcome import End, Outcome
from igw.parsing.registry import answer_reader, error_shape
from igw.parsing.usage import NOTHING, Usage
from igw.waitingroom import events
from igw.waitingroom.tickets import TOKEN

_NOT_PASSED = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect",
        "content-length", "accept-encoding", TOKEN,
    }
)  # fmt: skip
"""Headers that belong to one connection (RFC 9110, 7.6.1), or to us. The answer's encoding was promised before it began: none."""
_CONNECT_SECONDS = 1.0
"""As our gateway has it."""
_MOST_ERROR_BYTES = 64 << 10


class Passed(msgspec.Struct, frozen=True):
    """A request as it came in, and to whom its answer goes."""

    method: str
    target: str
    """Path and query as they were written."""
    headers: Mapping[str, str]
    body: bytes
    write: Callable[[bytes], Awaitable[None]]
    """Raises `ConnectionResetError` once the client is gone."""
    received_at: float
    """In seconds on the picker's monotonic clock, as what `Relay` is given."""


def session() -> aiohttp.ClientSession:
    """Return what model servers are asked with: as many at once and as long as it takes, the gateway's timeouts count."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    return aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


class Broken(Exception):
    """The model server did not answer, or stopped in the middle."""


class Unreachable(Broken):
    """Nobody could be connected to."""


class Relay:
    """Passes one request on and its answer back."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        clock: Callable[[], float],
        started: Callable[[Decision], None],
    ) -> None:
        """Take who is told of an answer's first byte."""
        self._session = session
        self._clock = clock
        self._started = started

    async def run(self, decision: Decision, passed: Passed) -> Outcome:
        """Return how it went, once the answer's last byte is on its way.

        Raises:
            ConnectionResetError: the client left.
        """
        shape = error_shape(decision.request.api)
        try:
            answer, served_by, unreachable = await self._ask(decision, passed)
        except Broken as error:
            await passed.write(events.failure(str(error), shape))
            return self._outcome(passed, End.FAILED, unreachable=isinstance(error, Unreachable))
        told: dict[str, Any] = {"served_by": served_by, "unreachable": unreachable, "status": answer.status}
        try:
            if answer.status >= 400 or answer.content_type != "text/event-stream":
                body = b""
                with contextlib.suppress(Broken, ValueError):  # that it is an error is known without it
                    body = await whole(_pieces(answer), _MOST_ERROR_BYTES, "the error")
                said = f"the model server answered {answer.status} and no stream of events"
                await passed.write(events.failure(said, shape, body))
                return self._outcome(passed, End.COMPLETE, response_bytes=len(body), **told)
            return await self._stream(decision, passed, answer, told)
        finally:
            answer.close()

    async def _ask(self, decision: Decision, passed: Passed) -> tuple[aiohttp.ClientResponse, str, bool]:
        """Return the answer of the first endpoint that can be reached, which one that is, and whether it is not the first."""
        headers = CIMultiDict(
            (key, value) for key, value in passed.headers.items() if key.lower() not in _NOT_PASSED
        )
        headers["accept-encoding"] = "identity"
        headers.update(decision.delivery.headers)
        address = decision.delivery.address
        where = [address] if address else [endpoint.hostport for endpoint in decision.endpoints]
        for number, hostport in enumerate(where):
            url = URL(f"http://{hostport}{passed.target}", encoded=True)
            try:
                answer = await self._session.request(
                    passed.method, url, headers=headers, data=passed.body, allow_redirects=False
                )
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
                continue
            except (aiohttp.ClientError, OSError) as error:
                raise Broken(f"{hostport} did not answer: {type(error).__name__}") from error
            return answer, hostport, number > 0
        raise Unreachable("no endpoint could be reached")

    async def _stream(
        self, decision: Decision, passed: Passed, answer: aiohttp.ClientResponse, told: Mapping[str, Any]
    ) -> Outcome:
        reader = answer_reader(decision.request.api)
        first_byte_at: float | None = None
        size, end = 0, End.COMPLETE
        try:
            async for piece in _pieces(answer):
                if first_byte_at is None:
                    first_byte_at = self._clock()
                    self._started(decision)
                size += len(piece)
                reader.feed(piece)
                await passed.write(piece)
        except Broken as error:
            end = End.FAILED
            await passed.write(events.failure(str(error), error_shape(decision.request.api)))
        ttft = None if first_byte_at is None else first_byte_at - passed.received_at
        return self._outcome(passed, end, ttft, reader.usage(), response_bytes=size, **told)

    def _outcome(
        self, passed: Passed, end: End, ttft_seconds: float | None = None, usage: Usage = NOTHING, **told: Any
    ) -> Outcome:
        duration = self._clock() - passed.received_at
        return Outcome(end, ttft_seconds=ttft_seconds, duration_seconds=duration, usage=usage, **told)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except (aiohttp.ClientError, OSError) as error:
        raise Broken(f"the model server stopped in the middle: {type(error).__name__}") from error
