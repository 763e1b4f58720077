"""The shapes of `inference.networking.k8s.io/v1` InferencePool and of the endpoints file.

Limits are those of the CRD. Which endpoints a pool selects is `igw.discovery`'s business.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from igw.config.gateway_api import Name, Object, Port, Shape

LabelValue = Annotated[
    str,
    Meta(
        max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", description="a label value"
    ),
]
Group = Annotated[
    str,
    Meta(
        max_length=253,
        pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        description="an API group such as apps, or nothing",
    ),
]
Kind = Annotated[
    str,
    Meta(
        max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", description="a kind such as Service"
    ),
]


class Selector(Shape, frozen=True):
    """The labels an endpoint must have, all of them."""

    match_labels: Annotated[dict[str, LabelValue], Meta(min_length=1, max_length=64)]


class PortNumber(Shape, frozen=True):
    """A port, wrapped as the CRD wraps it."""

    number: Port


class PickerRef(Shape, frozen=True):
    """The endpoint picker, and what happens to a request when it does not answer."""

    name: Name
    group: Group = ""
    kind: Kind = "Service"
    port: PortNumber | None = None
    failure_mode: Literal["FailOpen", "FailClose"] = "FailClose"


class PoolSpec(Shape, frozen=True):
    """`spec` of an InferencePool. No *endpoint_picker_ref* means the gateway's own picker, FailClose."""

    selector: Selector
    target_ports: Annotated[tuple[PortNumber, ...], Meta(min_length=1, max_length=8)]
    app_protocol: Literal["http", "kubernetes.io/h2c"] = "http"
    endpoint_picker_ref: PickerRef | None = None


class InferencePool(Object, frozen=True, kw_only=True):
    """The model servers that serve the same models, and their picker."""

    spec: PoolSpec

    @property
    def fail_open(self) -> bool:
        """Whether a request goes to any ready endpoint when the picker does not answer."""
        picker = self.spec.endpoint_picker_ref
        return picker is not None and picker.failure_mode == "FailOpen"


class WrittenEndpoint(Shape, frozen=True):
    """One entry of `endpoints` as upstream's file discovery writes it; *port* may be a string."""

    name: Name
    address: str
    namespace: str = "default"
    port: int | str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class OptionalMeta(Shape, frozen=True):
    """`metadata` of an endpoints document, none of it needed."""

    name: str = ""
    namespace: str = "default"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class EndpointsFile(Shape, frozen=True):
    """A document with model servers that no cluster tells us about."""

    endpoints: tuple[WrittenEndpoint, ...]
    api_version: str = ""
    kind: str = "Endpoints"
    metadata: OptionalMeta = OptionalMeta()


class ListedEndpoint(msgspec.Struct, frozen=True):
    """An endpoint as written: *port* is None where each target port of the selecting pool is meant."""

    name: str
    namespace: str
    address: str
    port: int | None
    labels: dict[str, str]
    source: str
    """Where it was written, for error messages."""
