"""Every object of the given files, decoded, checked against the others: one frozen `Manifests`.

Turning it into Envoy configuration or pool snapshots is not done here.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from igw.config import references
from igw.config.adapters import AdapterMap, adapter_maps, is_adapter_map
from igw.config.decode import decode, nearest
from igw.config.documents import Document, read, written
from igw.config.gateway_api import (
    BIND_ADDRESS,
    BY_BODY,
    REQUEST_BODIES,
    REQUEST_BODY,
    ROUTE_BY_BODY,
    Gateway,
    HTTPRoute,
    Object,
)
from igw.config.inference import EndpointsFile, InferencePool, ListedEndpoint, WrittenEndpoint
from igw.config.models import (
    MODEL_VERSIONS,
    QUEUE_TTL,
    STICKY_BY,
    WEIGHT,
    InferenceModelRewrite,
    InferenceObjective,
    objective,
    rewrite,
)
from igw.config.slo import ANNOTATIONS as SLO_ANNOTATIONS
from igw.config.slo import slo
from igw.errors import ConfigError

API_VERSIONS: dict[str, tuple[str, ...]] = {
    "Gateway": ("gateway.networking.k8s.io/v1",),
    "HTTPRoute": ("gateway.networking.k8s.io/v1",),
    "InferencePool": ("inference.networking.k8s.io/v1",),
    "InferenceModelRewrite": MODEL_VERSIONS,
    "InferenceObjective": MODEL_VERSIONS,
    "Endpoints": ("igw.dev/v1alpha1",),
    "Simulator": ("igw.dev/v1alpha1",),
    "EndpointPickerConfig": ("llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1"),
}
"""The kinds that are read and the versions they are read in, the preferred one first."""

_CLUSTER_ONLY = "means something only in a cluster"
_NOT_YET = "is not read from files yet"
IGNORED: dict[str, str] = {
    **dict.fromkeys(
        (
            "Namespace",
            "Service",
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "Pod",
            "Role",
            "RoleBinding",
            "ClusterRole",
            "ClusterRoleBinding",
            "PersistentVolumeClaim",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
            "NetworkPolicy",
            "ServiceMonitor",
            "PodMonitor",
            "CustomResourceDefinition",
        ),
        _CLUSTER_ONLY,
    ),
    "GatewayClass": "every Gateway in a file is ours",
    "ReferenceGrant": "references between namespaces are always allowed in file mode",
    "InferencePoolImport": _NOT_YET,
}
"""The kinds that are passed over, and why."""


class Ignored(msgspec.Struct, frozen=True):
    """An object that was passed over, and why."""

    source: str
    reason: str


class Manifests(msgspec.Struct, frozen=True):
    """Every object that was written, in file order. Two are equal when they mean and say the same."""

    gateways: tuple[Gateway, ...] = ()
    routes: tuple[HTTPRoute, ...] = ()
    pools: tuple[InferencePool, ...] = ()
    endpoints: tuple[ListedEndpoint, ...] = ()
    simulators: tuple[Document, ...] = ()
    picker_config: Document | None = None
    rewrites: tuple[InferenceModelRewrite, ...] = ()
    objectives: tuple[InferenceObjective, ...] = ()
    adapter_maps: tuple[AdapterMap, ...] = ()
    """ConfigMaps that say which adapters belong to which base model."""
    ignored: tuple[Ignored, ...] = ()
    sources: dict[str, str] = msgspec.field(default_factory=dict)
    """`Kind namespace/name` -> where it was written, for error messages."""


def load(paths: Sequence[Path]) -> Manifests:
    """Read *paths* (files, or directories of them) into checked manifests.

    Raises `ConfigError` for the first thing that is wrong: a path that does not exist, a syntax error, an unknown
    kind, field or value, an object written twice, a reference to an object that is not there.
    """
    documents = tuple(read(paths))
    for document in documents:
        _check_kind(document)
    wanted = tuple(d for d in documents if d.kind in API_VERSIONS)
    manifests = Manifests(
        gateways=tuple(_gateway(d) for d in wanted if d.kind == "Gateway"),
        routes=tuple(_route(d) for d in wanted if d.kind == "HTTPRoute"),
        pools=tuple(_pool(d) for d in wanted if d.kind == "InferencePool"),
        endpoints=tuple(e for d in wanted if d.kind == "Endpoints" for e in _endpoints(d)),
        simulators=tuple(d for d in wanted if d.kind == "Simulator"),
        picker_config=_only([d for d in wanted if d.kind == "EndpointPickerConfig"]),
        rewrites=tuple(_rewrite(d) for d in wanted if d.kind == "InferenceModelRewrite"),
        objectives=tuple(_objective(d) for d in wanted if d.kind == "InferenceObjective"),
        adapter_maps=adapter_maps(documents),
        ignored=tuple(
            Ignored(d.source, IGNORED[d.kind])
            for d in documents
            if d.kind not in API_VERSIONS and not is_adapter_map(d)
        ),
        sources=_sources(wanted),
    )
    _check_endpoints(manifests.endpoints)
    references.check(manifests.gateways, manifests.routes, manifests.pools, manifests.sources)
    references.check_pool_refs(
        (*manifests.rewrites, *manifests.objectives), manifests.pools, manifests.sources
    )
    return manifests


def checked(document: Document) -> InferencePool | InferenceModelRewrite | InferenceObjective:
    """Return the one object that *document* is; what it refers to is not looked for.

    Raises:
        ConfigError: it cannot be used.
    """
    return _ALONE[document.kind](document)


def with_picker_config(manifests: Manifests, file: Path | None, text: str = "") -> Manifests:
    """Return *manifests* with the `EndpointPickerConfig` of *text*, else that of *file*, else their own.

    Raises:
        ConfigError: there is not exactly one.
    """
    if text:
        documents, place = tuple(written(text, "--config-text")), "--config-text"
    elif file is not None:
        documents, place = tuple(read([file])), str(file)
    else:
        return manifests
    for document in documents:
        _check_kind(document)
    config = _only([document for document in documents if document.kind == "EndpointPickerConfig"])
    if config is None:
        raise ConfigError(place, "there is no EndpointPickerConfig here")
    return msgspec.structs.replace(manifests, picker_config=config)


def _check_kind(document: Document) -> None:
    versions = API_VERSIONS.get(document.kind)
    if versions is None:
        if document.kind == "InferenceModel":
            raise ConfigError(
                f"{document.source} $.kind",
                "InferenceModel was replaced by InferenceObjective and InferenceModelRewrite",
                "`igw convert -f OLD -o NEW` writes them",
            )
        if document.kind not in IGNORED:
            raise ConfigError(
                f"{document.source} $.kind",
                f"there is no kind `{document.kind}`",
                nearest(document.kind, API_VERSIONS),
            )
        return
    bare = document.kind == "Endpoints" and not document.api_version
    # Kubernetes' own v1 Endpoints has `subsets` and no place here.
    if document.api_version not in versions and not bare:
        raise ConfigError(
            f"{document.source} $.apiVersion",
            f"`{document.api_version}` is not a version of {document.kind} that is read here",
            f"write {versions[0]}",
        )


def _sources(documents: Sequence[Document]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for document in documents:
        if not document.name and document.kind in ("Endpoints", "EndpointPickerConfig"):
            continue
        if not document.name:
            raise ConfigError(f"{document.source} $.metadata.name", "a name is required")
        if document.key in sources:
            raise ConfigError(
                document.source,
                f"{document.key} is written twice",
                f"the first one is {sources[document.key]}",
            )
        sources[document.key] = document.source
    return sources


def _only(documents: Sequence[Document]) -> Document | None:
    if len(documents) > 1:
        raise ConfigError(
            documents[1].source,
            "there can be only one EndpointPickerConfig",
            f"the first one is {documents[0].source}",
        )
    return documents[0] if documents else None


def _check_annotations(document: Document, value: Object, known: Sequence[str]) -> None:
    for annotation in value.metadata.annotations:
        if annotation.startswith("igw.dev/") and annotation not in known:
            hint = nearest(annotation, known) if known else ""
            raise ConfigError(
                f"{document.source} $.metadata.annotations",
                f"there is no annotation `{annotation}` for {document.kind}",
                hint,
            )


def _check_value(document: Document, annotation: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(
            f"{document.source} $.metadata.annotations[{annotation}]",
            f"`{value}` is not allowed here",
            nearest(value, known),
        )


def _gateway(document: Document) -> Gateway:
    gateway = decode(document, Gateway)
    _check_annotations(document, gateway, (BIND_ADDRESS, ROUTE_BY_BODY))
    _check_value(document, ROUTE_BY_BODY, gateway.route_by_body, BY_BODY)
    if not is_ip(gateway.bind_address):
        raise ConfigError(
            f"{document.source} $.metadata.annotations[{BIND_ADDRESS}]",
            f"`{gateway.bind_address}` is not an IP address",
            "such as 127.0.0.1, 0.0.0.0 or ::",
        )
    return gateway


def _route(document: Document) -> HTTPRoute:
    route = decode(document, HTTPRoute)
    _check_annotations(document, route, (REQUEST_BODY,))
    _check_value(document, REQUEST_BODY, route.request_body, REQUEST_BODIES)
    references.check_rules(route, document.source)
    return route


def _pool(document: Document) -> InferencePool:
    pool = decode(document, InferencePool)
    _check_annotations(document, pool, SLO_ANNOTATIONS)
    with _placed(document):
        slo(pool.metadata.annotations)
    numbers = [port.number for port in pool.spec.target_ports]
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            raise ConfigError(
                f"{document.source} $.spec.targetPorts[{index}].number",
                f"port number must be unique, {number} is written twice",
            )
    picker = pool.spec.endpoint_picker_ref
    if picker is not None and picker.kind == "Service" and picker.port is None:
        raise ConfigError(
            f"{document.source} $.spec.endpointPickerRef.port",
            "port is required when kind is 'Service' or unset",
            "such as port: {number: 9002}",
        )
    return pool


def _rewrite(document: Document) -> InferenceModelRewrite:
    made = rewrite(document)
    _check_annotations(document, made, (STICKY_BY,))
    return made


def _objective(document: Document) -> InferenceObjective:
    made = objective(document)
    _check_annotations(document, made, (WEIGHT, QUEUE_TTL, *SLO_ANNOTATIONS))
    with _placed(document):
        _ = made.weight, made.queue_ttl_seconds, slo(made.metadata.annotations)
    return made


@contextlib.contextmanager
def _placed(document: Document) -> Iterator[None]:
    """Have errors that name an annotation say where it is written."""
    try:
        yield
    except ConfigError as error:
        where = f"{document.source} $.metadata.annotations[{error.where}]"
        raise ConfigError(where, error.problem, error.hint) from error


_ALONE: dict[str, Callable[[Document], InferencePool | InferenceModelRewrite | InferenceObjective]] = {
    "InferencePool": _pool,
    "InferenceModelRewrite": _rewrite,
    "InferenceObjective": _objective,
}


def is_ip(address: str) -> bool:
    """Return whether *address* is an IPv4 or IPv6 literal, without brackets."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _endpoints(document: Document) -> list[ListedEndpoint]:
    written = decode(document, EndpointsFile).endpoints
    return [
        _endpoint(entry, f"{document.source} $.endpoints[{index}]") for index, entry in enumerate(written)
    ]


def _endpoint(entry: WrittenEndpoint, where: str) -> ListedEndpoint:
    if not is_ip(entry.address):
        hint = (
            "write it without brackets"
            if entry.address.startswith("[")
            else "host names are not resolved here"
        )
        raise ConfigError(f"{where}.address", f"`{entry.address}` is not an IP address", hint)
    port: int | None = None
    if entry.port is not None:
        text = str(entry.port)
        port = int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= port <= 65535:
            raise ConfigError(f"{where}.port", f"`{entry.port}` is not a port", "1 to 65535")
    return ListedEndpoint(entry.name, entry.namespace, entry.address, port, entry.labels, where)


def _check_endpoints(endpoints: Sequence[ListedEndpoint]) -> None:
    seen: dict[tuple[str, str, int | None], ListedEndpoint] = {}
    for endpoint in endpoints:
        identity = (endpoint.namespace, endpoint.name, endpoint.port)
        if identity in seen:
            raise ConfigError(
                endpoint.source,
                f"endpoint {endpoint.namespace}/{endpoint.name} is written twice",
                f"the first one is {seen[identity].source}",
            )
        seen[identity] = endpoint
