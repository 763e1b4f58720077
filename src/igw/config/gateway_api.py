"""The shapes of `gateway.networking.k8s.io/v1` that file mode understands: Gateway and HTTPRoute.

Fields follow the Gateway API's reference; one that is not listed is refused, since passing over it would change
what the author meant.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from igw.config.durations import PATTERN as DURATION

BIND_ADDRESS = "igw.dev/bind-address"
"""Gateway annotation: the IP address its listeners bind; `127.0.0.1` unless set."""

ROUTE_BY_BODY = "igw.dev/route-by-body"
"""Gateway annotation: whether requests pass the body-based router before their route is chosen, and how their bodies do."""

BY_BODY = ("Auto", "Buffered", "Streamed", "Off")
"""Its values; the first is the default: where a route matches one of `MODEL_HEADERS`, streamed if the body is large."""

MODEL_HEADERS = ("x-gateway-model-name", "x-gateway-base-model-name")
"""What the body-based router says of a request (upstream's names, in lower case)."""

REQUEST_BODY = "igw.dev/request-body"
"""HTTPRoute annotation: how request bodies travel to the picker."""

REQUEST_BODIES = ("Auto", "Buffered", "Streamed")
"""Its values; the first is the default: streamed where a large `content-length` is declared, else buffered."""

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Port = Annotated[int, Meta(ge=1, le=65535)]
BindPort = Annotated[int, Meta(ge=0, le=65535)]
"""0 asks for a free port; the Gateway API itself starts at 1."""
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Hostname = Annotated[
    str,
    Meta(
        max_length=253,
        pattern=rf"^(\*\.)?{_LABEL}(\.{_LABEL})*$",
        description="a host name such as llm.example.com or *.example.com",
    ),
]
HeaderName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$",
        description="a header name",
    ),
]
HeaderValue = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$",
        description="a header value without control characters",
    ),
]
Duration = Annotated[str, Meta(pattern=DURATION, description="a duration such as 10s or 1m30s")]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """What every value here has in common: frozen, camelCase on paper, no unknown fields."""


class ObjectMeta(Shape, frozen=True):
    """`metadata` of a Kubernetes object; fields that only a server writes are read and passed over."""

    name: Name
    namespace: Annotated[str, Meta(min_length=1, max_length=63)] = "default"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    generate_name: Any = None
    uid: Any = None
    resource_version: Any = None
    generation: Any = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    finalizers: Any = None
    owner_references: Any = None
    managed_fields: Any = None
    self_link: Any = None


class Object(Shape, frozen=True):
    """A Kubernetes object."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    status: Any = None

    @property
    def name(self) -> str:
        """The object's name in its namespace."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace, `default` unless written."""
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class RouteNamespaces(Shape, frozen=True):
    """Which namespaces' routes may attach to a listener."""

    from_: Literal["All", "Same", "None"] = msgspec.field(default="Same", name="from")


class RouteKind(Shape, frozen=True):
    """A kind of route that a listener takes; only HTTPRoute exists here."""

    kind: Literal["HTTPRoute"]
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"


class AllowedRoutes(Shape, frozen=True):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] = ()


class Listener(Shape, frozen=True):
    """One port of a Gateway."""

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    port: BindPort
    protocol: Literal["HTTP"]
    hostname: Hostname | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewaySpec(Shape, frozen=True):
    """`spec` of a Gateway."""

    gateway_class_name: Name
    listeners: Annotated[tuple[Listener, ...], Meta(min_length=1, max_length=64)]


class Gateway(Object, frozen=True, kw_only=True):
    """Where clients connect."""

    spec: GatewaySpec

    @property
    def bind_address(self) -> str:
        """The IP address its listeners bind."""
        return self.metadata.annotations.get(BIND_ADDRESS, "127.0.0.1")

    @property
    def route_by_body(self) -> str:
        """Whether requests pass the body-based router: one of `BY_BODY`."""
        return self.metadata.annotations.get(ROUTE_BY_BODY, BY_BODY[0])


class ParentRef(Shape, frozen=True):
    """The Gateway, and perhaps the listener, a route attaches to."""

    name: Name
    namespace: str | None = None
    section_name: str | None = None
    port: Port | None = None
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["Gateway"] = "Gateway"


class PathMatch(Shape, frozen=True):
    """How a path is compared; PathPrefix goes by segments: `/v1` matches `/v1/chat` and not `/v10`."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Meta(min_length=1, max_length=1024)] = "/"


class HeaderMatch(Shape, frozen=True):
    """A header (or query parameter) that must be there, exactly or by RE2."""

    name: HeaderName
    value: Annotated[str, Meta(min_length=1, max_length=4096)]
    type: Literal["Exact", "RegularExpression"] = "Exact"


class RouteMatch(Shape, frozen=True):
    """All of its parts must hold."""

    path: PathMatch = PathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], Meta(max_length=16)] = ()
    query_params: Annotated[tuple[HeaderMatch, ...], Meta(max_length=16)] = ()
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] | None = (
        None
    )


class Header(Shape, frozen=True):
    """A header and the value it gets."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(Shape, frozen=True):
    """Headers to set (overwrite), add (append) and remove."""

    set: Annotated[tuple[Header, ...], Meta(max_length=16)] = ()
    add: Annotated[tuple[Header, ...], Meta(max_length=16)] = ()
    remove: Annotated[tuple[HeaderName, ...], Meta(max_length=16)] = ()


class Filter(Shape, frozen=True):
    """A change to the request or the answer on its way; *type* says which of the two fields counts."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None


class BackendRef(Shape, frozen=True):
    """An InferencePool and its share of the requests (weight / sum of weights)."""

    name: Name
    kind: Literal["InferencePool"]
    group: Literal["inference.networking.k8s.io"]
    namespace: str | None = None
    port: Any = None  # Gateway API: ignored for an InferencePool
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    filters: Annotated[tuple[Filter, ...], Meta(max_length=16)] = ()


class Timeouts(Shape, frozen=True):
    """How long a request may take; `0s` is no limit."""

    request: Duration | None = None
    backend_request: Duration | None = None


class Rule(Shape, frozen=True):
    """Requests that match any of *matches* go to *backend_refs*."""

    name: str | None = None
    matches: Annotated[tuple[RouteMatch, ...], Meta(max_length=64)] = ()
    filters: Annotated[tuple[Filter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[BackendRef, ...], Meta(max_length=16)] = ()
    timeouts: Timeouts = Timeouts()


class RouteSpec(Shape, frozen=True):
    """`spec` of an HTTPRoute."""

    parent_refs: Annotated[tuple[ParentRef, ...], Meta(min_length=1, max_length=32)]
    hostnames: Annotated[tuple[Hostname, ...], Meta(max_length=16)] = ()
    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=16)] = (Rule(),)


class HTTPRoute(Object, frozen=True, kw_only=True):
    """Which requests go to which pools."""

    spec: RouteSpec

    @property
    def request_body(self) -> str:
        """How request bodies travel to the picker: one of `REQUEST_BODIES`."""
        return self.metadata.annotations.get(REQUEST_BODY, REQUEST_BODIES[0])
