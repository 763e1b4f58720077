"""What is kept of the API server's objects, its lists and its watch events: JSON -> values, all else is dropped while decoding.

Whether an object can be used is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from igw.config.documents import Document
from igw.kubernetes.kinds import Kind

T = TypeVar("T")

ACTIVE_PORTS = "llm-d.ai/active-ports"
"""Pod annotation: which of the pool's target ports are live, a list with commas; all of them without it."""
OLD_ACTIVE_PORTS = "inference.networking.k8s.io/active-ports"
"""Its older name; the newer one wins."""

_UNSEEN = ("managedFields", "resourceVersion", "selfLink")


class Pod(msgspec.Struct, frozen=True):
    """What matters of a Pod."""

    name: str
    namespace: str
    address: str
    """Its IP; empty as long as it has none."""
    ready: bool
    """Its condition `Ready` is true, and nobody has asked for its end."""
    labels: dict[str, str]
    active_ports: str | None = None
    """As annotated."""


class Service(msgspec.Struct, frozen=True):
    """What matters of a Service to those who refer to it."""

    type: str
    """ClusterIP, NodePort, LoadBalancer or ExternalName."""
    ports: tuple[int, ...]


class Stored(msgspec.Struct, frozen=True):
    """An object of ours as the API server has it."""

    document: Document
    """Without status and what changes with every write, so that equal documents mean the same."""
    version: str
    """Its `resourceVersion`."""
    status: Any = None


class Named(msgspec.Struct, Generic[T], frozen=True):
    """An object under its `namespace/name`, and the version of the whole at which it was so."""

    key: str
    version: str
    value: T


Decode: TypeAlias = Callable[[msgspec.Raw], Named[T]]
"""One object's JSON -> what is kept of it. Raises `msgspec.DecodeError`."""


class _Wire(msgspec.Struct, rename="camel"):
    """Anything on the wire: unknown fields are passed over."""


class _Notes(_Wire):
    active_ports: str | None = msgspec.field(default=None, name=ACTIVE_PORTS)
    old_active_ports: str | None = msgspec.field(default=None, name=OLD_ACTIVE_PORTS)


class _Name(_Wire):
    name: str
    namespace: str
    resource_version: str = ""


class _PodMeta(_Name):
    labels: dict[str, str] | None = None
    annotations: _Notes | None = None
    deletion_timestamp: str | None = None


class _Condition(_Wire):
    type: str
    status: str


class _PodStatus(_Wire):
    conditions: list[_Condition] | None = None
    pod_ip: str = msgspec.field(default="", name="podIP")


class _Pod(_Wire):
    metadata: _PodMeta
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Port(_Wire):
    port: int


class _ServiceSpec(_Wire):
    type: str = "ClusterIP"
    ports: list[_Port] | None = None


class _Service(_Wire):
    metadata: _Name
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)


_read_service = msgspec.json.Decoder(_Service).decode
_read_pod = msgspec.json.Decoder(_Pod).decode
_read_body = msgspec.json.Decoder(dict[str, Any]).decode


def pod(raw: msgspec.Raw) -> Named[Pod]:
    """Return what matters of a Pod."""
    read = _read_pod(raw)
    meta, notes = read.metadata, read.metadata.annotations or _Notes()
    conditions = read.status.conditions or ()
    ready = meta.deletion_timestamp is None and any(
        each.type == "Ready" and each.status == "True" for each in conditions
    )
    ports = notes.active_ports if notes.active_ports is not None else notes.old_active_ports
    kept = Pod(meta.name, meta.namespace, read.status.pod_ip, ready, meta.labels or {}, ports)
    return Named(f"{meta.namespace}/{meta.name}", meta.resource_version, kept)


def service(raw: msgspec.Raw) -> Named[Service]:
    """Return what matters of a Service."""
    read = _read_service(raw)
    meta = read.metadata
    kept = Service(read.spec.type, tuple(each.port for each in read.spec.ports or ()))
    return Named(f"{meta.namespace}/{meta.name}", meta.resource_version, kept)


def stored(kind: Kind) -> Decode[Stored]:
    """Return what reads objects of *kind*, whole but for what only the API server is interested in."""

    def read(raw: msgspec.Raw) -> Named[Stored]:
        body: dict[str, Any] = _read_body(raw)
        meta = body.get("metadata")
        if not isinstance(meta, dict):
            raise msgspec.ValidationError("an object without metadata")
        version, status = str(meta.get("resourceVersion", "")), body.pop("status", None)
        for field in _UNSEEN:
            meta.pop(field, None)
        # What is in a list need not say what it is.
        body |= {"apiVersion": kind.api_version, "kind": kind.name}
        name, namespace = str(meta.get("name")), str(meta.get("namespace"))
        key = f"{namespace}/{name}"
        document = Document(f"{kind.name} {key}", kind.api_version, kind.name, name, namespace, body)
        return Named(key, version, Stored(document, version, status))

    return read


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list, or all of it."""

    items: dict[str, T]
    version: str
    token: str
    """Where the rest begins; empty at the end."""


class Event(msgspec.Struct, Generic[T], frozen=True):
    """What a watch tells."""

    type: str
    """ADDED, MODIFIED, DELETED; BOOKMARK if only *version* went on."""
    key: str
    version: str
    value: T | None


class Failure(msgspec.Struct, frozen=True):
    """Why a list or a watch ended that should not have."""

    status: int
    """HTTP's, also where it came within a watch; 0: no answer, or none that can be understood."""
    message: str
    retry_after_seconds: float = 0.0


class _ListMeta(_Wire):
    resource_version: str = ""
    token: str = msgspec.field(default="", name="continue")


class _List(_Wire):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Details(_Wire):
    retry_after_seconds: float = 0.0


class _Status(_Wire):
    code: int = 0
    message: str = ""
    details: _Details | None = None


class _Event(_Wire):
    type: str
    object: msgspec.Raw


class _Marked(_Wire):
    metadata: _ListMeta


_read_list = msgspec.json.Decoder(_List).decode
_read_event = msgspec.json.Decoder(_Event).decode
_read_marked = msgspec.json.Decoder(_Marked).decode
_read_status = msgspec.json.Decoder(_Status).decode


def page(body: bytes, decode: Decode[T]) -> Page[T]:
    """Return one answer to a list.

    Raises:
        msgspec.DecodeError: it is none.
    """
    read = _read_list(body)
    items = [decode(raw) for raw in read.items or ()]
    return Page({each.key: each.value for each in items}, read.metadata.resource_version, read.metadata.token)


def event(line: bytes, decode: Decode[T]) -> Event[T] | Failure:
    """Return one line of a watch.

    Raises:
        msgspec.DecodeError: it is none.
    """
    read = _read_event(line)
    if read.type == "ERROR":
        return failure(read.object)
    if read.type == "BOOKMARK":
        return Event(read.type, "", _read_marked(read.object).metadata.resource_version, None)
    named = decode(read.object)
    return Event(read.type, named.key, named.version, None if read.type == "DELETED" else named.value)


def failure(body: bytes | msgspec.Raw, status: int = 0) -> Failure:
    """Return what a `Status` of the API server says; *status* is HTTP's, if there was one."""
    try:
        read = _read_status(body)
    except msgspec.DecodeError:
        return Failure(status, bytes(body[:200]).decode(errors="replace") or f"HTTP {status}")
    details = read.details or _Details()
    return Failure(status or read.code, read.message, details.retry_after_seconds)
