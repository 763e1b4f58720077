"""What a user says about KV events, in the words of vLLM's `--kv-events-config`, and which address each server gets.

Sockets are in `publisher`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Encoding = Literal["map", "array", "sglang"]
HashAlgorithm = Literal["sha256_cbor", "xxhash_cbor"]

_BOUND_SCHEMES = ("ipc://", "inproc://")
_LAST_PORT = 65_535


class KvEventsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's KVEventsConfig (`vllm/config/kv_events.py`), same names and defaults, and four settings of ours.

    `topic` may hold `{address}`, `{port}` and `{model}`. `encoding`: `map` is vLLM since 0.24, `array` is older vLLM,
    `sglang` is SGLang with its signed hashes; replay answers in the form of that engine. `int_block_hashes` is vLLM's
    VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES: the last 64 bits as a number, else the whole hash as bytes.
    `prefix_caching_hash_algo` is vLLM's flag of that name; `hash_seed` is what PYTHONHASHSEED is there.
    """

    enable_kv_cache_events: bool = False
    publisher: Literal["null", "zmq"] | None = None
    endpoint: Annotated[str, msgspec.Meta(min_length=1)] = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    hwm: Annotated[int, msgspec.Meta(ge=0)] = 100_000
    topic: str = ""
    encoding: Encoding = "map"
    int_block_hashes: bool = True
    prefix_caching_hash_algo: HashAlgorithm = "sha256_cbor"
    hash_seed: str = "0"

    def __post_init__(self) -> None:
        for name, endpoint in (("endpoint", self.endpoint), ("replay_endpoint", self.replay_endpoint)):
            if endpoint is not None and not endpoint.startswith(("tcp://", *_BOUND_SCHEMES)):
                raise ValueError(f"{name} must start with tcp://, ipc:// or inproc://, got {endpoint!r}")

    @property
    def published(self) -> bool:
        """Whether anything is sent; as in vLLM, enabled events go to ZMQ unless `publisher` is `null`."""
        return self.enable_kv_cache_events and self.publisher != "null"

    def shifted(self, replica: int, rank: int, ranks: int) -> KvEventsConfig:
        """Return the addresses of one rank of one replica; ValueError when ports run out.

        vLLM adds the data-parallel rank to every port. Replicas come on top where the server binds, `ranks` ports
        apart; where it connects, the other side has the address, and all replicas share it.
        """
        bound = replica * ranks + rank
        return msgspec.structs.replace(
            self,
            endpoint=shifted_endpoint(self.endpoint, bound if binds(self.endpoint) else rank),
            replay_endpoint=self.replay_endpoint and shifted_endpoint(self.replay_endpoint, bound),
        )

    def check_ports(self, servers: int) -> None:
        """Raise ValueError when the event ports and the replay ports of that many engines would overlap."""
        first, replay = tcp_port(self.endpoint), tcp_port(self.replay_endpoint or "")
        if first and replay and abs(first - replay) < servers and binds(self.endpoint):
            raise ValueError(
                f"the event ports {first}-{first + servers - 1} and the replay ports {replay}-{replay + servers - 1} "
                f"of {servers} engines overlap: set replay_endpoint at least {servers} ports away"
            )


def binds(endpoint: str) -> bool:
    """Whether vLLM's publisher binds this address rather than connecting to it."""
    return "*" in endpoint or "::" in endpoint or endpoint.startswith(_BOUND_SCHEMES)


def tcp_port(endpoint: str) -> int | None:
    """Return the port of a tcp address; None for a wildcard, and for other transports."""
    port = endpoint.rpartition(":")[2]
    return int(port) if endpoint.startswith("tcp://") and port.isdecimal() and int(port) else None


def shifted_endpoint(endpoint: str, offset: int) -> str:
    """Return the address `offset` ports on (or with a suffix, where there are no ports); ValueError past 65535.

    A wildcard port stays, each server then gets one of its own.
    """
    if not offset:
        return endpoint
    if endpoint.startswith(_BOUND_SCHEMES):
        return f"{endpoint}_dp{offset}"
    port = tcp_port(endpoint)
    if port is None:
        return endpoint
    if port + offset > _LAST_PORT:
        raise ValueError(
            f"{endpoint} leaves no port for engine {offset}: {port} + {offset} is above {_LAST_PORT}"
        )
    return f"{endpoint.rpartition(':')[0]}:{port + offset}"
