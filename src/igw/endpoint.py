"""Who can serve: an endpoint (one address of one model server) and a pool (an immutable, ordered set of them).

What an endpoint reports of itself, and what we believe of its load, is not here: that is columns in pool order
(`igw.facts`), so that a snapshot can be shared by every request without copying.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

_ACCELERATOR_LABELS = (
    "llm-d.ai/accelerator", "accelerator", "nvidia.com/gpu.product", "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator", "cloud.google.com/gke-tpu-accelerator",
)  # fmt: skip


SEATS_LABEL = "igw.dev/max-num-seqs"
"""Label of an endpoint with how many requests its batch holds (vLLM's `--max-num-seqs`): no metric of vLLM tells."""


def hostport(address: str, port: int) -> str:
    """Return `ip:port`, an IPv6 address in brackets, as Envoy and protocol 004 write it."""
    try:
        if ipaddress.ip_address(address).version == 6:
            return f"[{address}]:{port}"
    except ValueError:
        pass  # a host name
    return f"{address}:{port}"


class Endpoint(msgspec.Struct, frozen=True):
    """One address that can serve a request. In Kubernetes: one target port of one Pod."""

    name: str
    namespace: str
    address: str
    port: int
    labels: Mapping[str, str]
    hostport: str
    """`ip:port`, the identity of an endpoint on the wire and in every table of ours."""
    http_port: int | None = None
    """Where `/metrics` and `/health` are, where `port` is for gRPC alone; None: at `port`."""

    @classmethod
    def at(
        cls,
        address: str,
        port: int,
        name: str = "",
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        http_port: int | None = None,
    ) -> Endpoint:
        """Return the endpoint at *address* and *port*; its name defaults to `ip:port`."""
        where = hostport(address, port)
        return cls(name or where, namespace, address, port, labels or {}, where, http_port)

    @property
    def accelerator(self) -> str:
        """What it computes on, by the first of the labels that may say so; empty: not known. Engines do not say."""
        return next((self.labels[key] for key in _ACCELERATOR_LABELS if key in self.labels), "")

    @property
    def seats(self) -> int:
        """How many requests its batch holds, by its label; 0: nobody says."""
        written = self.labels.get(SEATS_LABEL, "")
        return int(written) if written.isdecimal() else 0


class Pool(msgspec.Struct, frozen=True):
    """The endpoints of one InferencePool at one instant. The order is stable and is the order of every column."""

    name: str
    namespace: str
    endpoints: tuple[Endpoint, ...]

    @property
    def key(self) -> str:
        """`namespace/name`, as the gateway names the pool to the picker."""
        return f"{self.namespace}/{self.name}"

    def __len__(self) -> int:
        return len(self.endpoints)
