"""Where KV events come from: addresses, topics, keys. Values only; sockets are in `listening`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from igw.endpoint import Endpoint, hostport
from igw.prefix.events import PORT_LABEL, REPLAY_LABEL


class Curve(msgspec.Struct, frozen=True):
    """Keys of ZeroMQ's CURVE, each 40 characters of Z85."""

    public: str
    secret: str
    server: str = ""
    """The publisher's public key, where we connect to it; where they connect to us, ours is the server's."""


class EventSettings(msgspec.Struct, frozen=True):
    """How the engines of a pool are listened to."""

    bind: str = ""
    """Address at which engines connect to us; empty: we connect to each."""
    topic: str = ""
    """Prefix of the topics that count where engines connect to us; where we connect, whatever an engine says is its own."""
    port: int = 5557
    """Of an address's first endpoint, one more for each further one (vLLM adds the data-parallel rank). 0: where a label says it, only."""
    replay_port: int = 0
    """Likewise, of the socket that sends old messages again; 0: there is none."""
    curve: Curve | None = None


class Address(msgspec.Struct, frozen=True):
    """Where one engine publishes."""

    events: str
    replay: str = ""
    """Empty: nowhere."""


def addresses(settings: EventSettings, endpoints: Iterable[Endpoint]) -> Mapping[str, Address]:
    """Return where each of *endpoints* publishes that does, by `ip:port`."""
    ranks: dict[str, int] = {}
    found = {}
    for endpoint in sorted(endpoints, key=lambda each: (each.address, each.port)):
        rank = ranks[endpoint.address] = ranks.get(endpoint.address, -1) + 1
        events = _port(endpoint, PORT_LABEL) or (settings.port and settings.port + rank)
        if not events and not settings.bind:
            continue
        replay = _port(endpoint, REPLAY_LABEL) or (settings.replay_port and settings.replay_port + rank)
        found[endpoint.hostport] = Address(
            f"tcp://{hostport(endpoint.address, events)}",
            f"tcp://{hostport(endpoint.address, replay)}" if replay else "",
        )
    return found


def named_by(topic: str, endpoints: Iterable[Endpoint]) -> str | None:
    """Return the `ip:port` of the endpoint that a topic (`kv@<who>@<model>`) names by that, by its name or its address; None: of none.

    A data-parallel engine of several endpoints at one address must say which.
    """
    who = topic.split("@")[1] if topic.count("@") else topic
    found = [each for each in endpoints if who in (each.hostport, each.name, each.address)]
    exact = [each for each in found if who in (each.hostport, each.name)]
    return (exact or found)[0].hostport if len(exact or found) == 1 else None


def _port(endpoint: Endpoint, label: str) -> int:
    written = endpoint.labels.get(label, "")
    return int(written) if written.isdecimal() and 0 < int(written) <= 65_535 else 0
