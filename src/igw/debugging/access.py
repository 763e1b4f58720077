"""Who may ask the metrics port: this machine, or whoever shows a token that is good for it. Whether a token is good others say, such as `reviews`."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from igw.errors import ConfigError
from igw.scraping.access import Access, Credentials

log = structlog.get_logger("debugging")

OPEN = frozenset({"/metrics", "/config"})
"""What is for everybody unless tokens are asked for. All else never is: who sees decisions sees who asks for what, and where servers are."""
_CHALLENGES = ('Bearer realm="igw"', 'Basic realm="igw: any user, and a token for the password"')


class Verdict(Enum):
    """What is said to one who asks."""

    ALLOWED = 200
    UNKNOWN = 401
    """Nobody knows the token."""
    FORBIDDEN = 403
    """Its owner may not."""
    UNDECIDED = 503
    """It cannot be found out."""


class Answer(msgspec.Struct, frozen=True):
    """A verdict and, unless it is good, why and the cure."""

    verdict: Verdict
    why: str = ""


ALLOWED = Answer(Verdict.ALLOWED)


class Authority(Protocol):
    """Knows tokens."""

    async def answer(self, token: str, verb: str, path: str) -> Answer:
        """Return whether the owner of *token* may do *verb* (an HTTP method in lower case) with *path*."""
        ...


class TokenFile:
    """One token, in a file that is read again when it changes; its owner may ask everything."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Read it.

        Raises:
            ConfigError: there is no token in it.
        """
        self._path = path
        self._clock = clock
        self._file = Credentials(Access(token_file=path), clock())

    async def answer(self, token: str, _verb: str, _path: str) -> Answer:
        """Return whether it is that token."""
        try:
            self._file.refresh(self._clock())
        except ConfigError as error:  # what was read before stays good
            log.warning("credentials_unreadable", where=error.where, problem=error.problem)
        known = self._file.headers["authorization"].encode()
        if hmac.compare_digest(known, f"Bearer {token}".encode()):
            return ALLOWED
        return Answer(Verdict.UNKNOWN, f"this is not the token in {self._path.name} (`--metrics-token-file`)")


def guard(authority: Authority | None) -> Middleware:
    """Return what lets requests through: those with a token that *authority* knows, whatever they ask.

    Without an authority `OPEN` pages are for everybody who reaches the port, and all others for this machine.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = _by_place(request) if authority is None else await _by_token(request, authority)
        if answer.verdict is Verdict.ALLOWED:
            return await handler(request)
        body = msgspec.json.encode({"error": answer.why})
        refusal = web.Response(body=body, status=answer.verdict.value, content_type="application/json")
        if answer.verdict is Verdict.UNKNOWN:
            refusal.headers.extend([("www-authenticate", each) for each in _CHALLENGES])
        return refusal

    return guarded


async def _by_token(request: web.Request, authority: Authority) -> Answer:
    token = shown(request.headers.get("authorization", ""))
    if not token:
        return Answer(
            Verdict.UNKNOWN,
            f"{request.path} asks for a token: send `Authorization: Bearer TOKEN`, or any user with the token for "
            "the password",
        )
    return await authority.answer(token, request.method.lower(), request.path)


def _by_place(request: web.Request) -> Answer:
    if request.path in OPEN:
        return ALLOWED
    if not _is_loopback(request.remote):
        cure = "ask there, by `kubectl port-forward` for one, or start it with --metrics-token-file"
        return Answer(Verdict.FORBIDDEN, f"{request.path} answers its own machine only; {cure}")
    if not _is_local_name(
        request.host
    ):  # a page of somebody's in a browser here, whose name leads to loopback
        cure = "ask http://127.0.0.1 or http://localhost"
        return Answer(
            Verdict.FORBIDDEN, f"{request.path} does not answer to the name {request.host!r}; {cure}"
        )
    return ALLOWED


def shown(authorization: str) -> str:
    """Return the token that a header `Authorization` shows, as bearer or as a password; empty: none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_local_name(host: str) -> bool:
    """Return whether *host*, as a header `Host` has it, is `localhost` or an address: no name server had a say in it."""
    name = host[: host.find("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
