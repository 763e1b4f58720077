"""Whom a session is bound to: what the session-affinity filter and scorer have in common. What follows from it is theirs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
import xxhash
from msgspec import UNSET, Meta, UnsetType

from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint
from igw.facts import SESSION, Facts
from igw.request import Head, Request
from igw.scheduling.api import Ranking
from igw.scheduling.by_endpoint import ByEndpoint

MOST_SESSIONS = 100_000
"""Sessions that one plugin remembers; the one unused for longest is forgotten first."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the endpoint is written into a header that the client gives back (`encodedEndpointHeaderConfig`)."""

    header: Annotated[str, Meta(min_length=1)] = "x-session-token"
    """Of the answer that gives the token and of the request that brings it back."""
    key: str = ""
    """Ours: what tokens are made with, so that they outlive this process and hold in every replica. Empty: one drawn at the start."""
    plain: bool = False
    """Ours: write and take upstream's form, base64 of `namespace/name`, which tells clients names and lets them choose endpoints."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a session id may be: a header, or an attribute that a producer or header processor found."""

    header: str = ""
    attribute: str = ""
    producer: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.attribute):
            raise ValueError("write exactly one of header and attribute")


class SessionIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How sessions are told apart and how long they are remembered (`sessionIdConfig`)."""

    sources: Annotated[tuple[Source, ...], Meta(min_length=1)] = (Source(header="x-session-id"),)
    """The first that is not empty counts."""
    eviction_ttl_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """A session unused for longer is not bound any more."""
    eviction_sweep_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """Accepted, without effect: what is old is seen as such when it is read, and goes as new sessions come."""


class SessionAffinity(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """The parameters of both plugins, and owner of their bindings."""

    strategy: Literal["encoded_endpoint_header", "session_id"] = "encoded_endpoint_header"
    encoded_endpoint_header_config: Token | UnsetType = UNSET
    session_id_config: SessionIds | UnsetType = UNSET
    profile_name: str = ""
    """Whose pick a session is bound to; the primary profile's where it is empty."""

    def __post_init__(self) -> None:
        encoded = self.strategy == "encoded_endpoint_header"
        foreign = self.session_id_config if encoded else self.encoded_endpoint_header_config
        if foreign is not UNSET:
            name = "sessionIdConfig" if encoded else "encodedEndpointHeaderConfig"
            raise ValueError(f"{name} does not belong to strategy {self.strategy}")
        self._bindings: _Tokens | _Bindings
        if encoded:
            self._bindings = _Tokens(self.encoded_endpoint_header_config or Token())
        else:
            self._bindings = _Bindings(self.session_id_config or SessionIds())

    def bound(self, request: Request, facts: Facts) -> int | None:
        """Return the index of the candidate that the request's session is bound to, None if there is none."""
        return self._bindings.find(request, facts)

    def deliver(
        self,
        delivery: Delivery,
        request: Request,
        facts: Facts,
        picked: Sequence[int],
        done: Mapping[str, Ranking | None],
        /,
    ) -> Delivery:
        """Add the token, if sessions are told apart by one."""
        ranking = done.get(self.profile_name) if self.profile_name else None
        if self.profile_name:
            if ranking is None:
                return delivery
            picked = ranking.picked
        return self._bindings.chosen(delivery, request, facts, picked[0])

    def decided(self, decision: Decision, /) -> None:
        """Bind the session, if sessions are told apart by an id."""
        self._bindings.bind(decision)


class _Tokens:
    """Strategy `encoded_endpoint_header`: the client keeps the binding. A token says nothing and cannot be made up without the key."""

    def __init__(self, config: Token) -> None:
        self._header = config.header.lower()
        self._key = hashlib.sha256(config.key.encode()).digest() if config.key else secrets.token_bytes(32)
        self._write = _plain if config.plain else self._sealed
        self._tokens = ByEndpoint(self._write, object)
        self._read = _name_in if config.plain else str

    def find(self, request: Request, facts: Facts) -> int | None:
        """Return who has this token; None for one that is foreign or of somebody who is no candidate."""
        token = self._read(request.head.headers.get(self._header, ""))
        if not token:
            return None
        rows = np.flatnonzero(self._tokens(facts.endpoints) == token)
        return int(rows[0]) if len(rows) else None

    def chosen(self, delivery: Delivery, _request: Request, facts: Facts, picked: int) -> Delivery:
        """Add the picked endpoint's token to the answer."""
        token = self._write(facts.endpoints[picked])
        return msgspec.structs.replace(
            delivery, answer_headers={**delivery.answer_headers, self._header: token}
        )

    def bind(self, _decision: Decision) -> None:
        """Do nothing: the client remembers."""

    def _sealed(self, endpoint: Endpoint) -> str:
        digest = hmac.digest(self._key, _name(endpoint).encode(), "sha256")[:18]
        return base64.urlsafe_b64encode(digest).decode()


class _Bindings:
    """Strategy `session_id`: we keep the binding, by a digest of the id. It moves only when the endpoint is no candidate any more."""

    def __init__(self, config: SessionIds) -> None:
        self._sources = config.sources
        self._ttl_seconds = config.eviction_ttl_seconds
        self._bound: dict[
            bytes, tuple[str, float]
        ] = {}  # -> (`ip:port`, last use); least recently used first
        self._next: tuple[Head, bytes, str] | None = None  # what the decision under way will bind

    def find(self, request: Request, facts: Facts) -> int | None:
        """Return who the session is bound to."""
        session = self._session(request, facts)
        return None if session is None else self._row(session, facts)

    def chosen(self, delivery: Delivery, request: Request, facts: Facts, picked: int) -> Delivery:
        """Note whom the session will be bound to: who it is bound to already, if that is a candidate."""
        self._next = None
        if (session := self._session(request, facts)) is not None:
            row = self._row(session, facts)
            self._next = (request.head, session, facts.endpoints[picked if row is None else row].hostport)
        return delivery

    def bind(self, decision: Decision) -> None:
        """Bind what was noted, and forget what has not been used for too long."""
        if self._next is None or self._next[0] is not decision.request.head:
            return
        _, session, hostport = self._next
        self._next, now = None, decision.decided_at
        self._bound.pop(session, None)
        self._bound[session] = (hostport, now)
        for _ in range(
            2
        ):  # one comes, two may go: the table shrinks again, and no request pays for all of them
            oldest = next(iter(self._bound))
            if len(self._bound) <= MOST_SESSIONS and not self._expired(self._bound[oldest][1], now):
                break
            del self._bound[oldest]

    def _row(self, session: bytes, facts: Facts) -> int | None:
        hostport, used = self._bound.get(session, ("", 0.0))
        if not hostport or self._expired(used, facts.now):
            return None
        return next((row for row, each in enumerate(facts.endpoints) if each.hostport == hostport), None)

    def _expired(self, used: float, now: float) -> bool:
        return now - used > self._ttl_seconds

    def _session(self, request: Request, facts: Facts) -> bytes | None:
        for source in self._sources:
            if source.header:
                found = request.head.headers.get(source.header.lower(), "")
            else:
                found = _attribute(source, request, facts)
            if found := found.strip():
                return xxhash.xxh3_128_digest(found.encode())
        return None


def _attribute(source: Source, request: Request, facts: Facts) -> str:
    """Return what a header processor or a producer found under a name; upstream's key of a session id is `SessionID`."""
    if source.attribute in request.attributes:
        return request.attributes[source.attribute]
    producer = source.producer or ("session-id-producer" if source.attribute == SESSION else "")
    return str(facts.produced.get(f"{source.attribute}/{producer}", ""))


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.namespace}/{endpoint.name}"


def _plain(endpoint: Endpoint) -> str:
    return base64.b64encode(_name(endpoint).encode()).decode()


def _name_in(token: str) -> str:
    """Return *token* as `_plain` writes it, empty if it is none: whoever sent it may have left out the padding."""
    try:
        padded = token + "=" * (-len(token) % 4)
        return base64.b64encode(base64.b64decode(padded, validate=True)).decode()
    except (binascii.Error, ValueError):
        return ""
