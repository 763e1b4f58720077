"""Manifests -> pools with their endpoints: pure, the same order for the same files. Watching files is not done here."""

from __future__ import annotations

from igw.config.inference import InferencePool, ListedEndpoint
from igw.config.manifests import Manifests
from igw.config.models import InferenceModelRewrite
from igw.config.slo import Slo, slo
from igw.endpoint import SEATS_LABEL, Endpoint, Pool
from igw.errors import ConfigError

GRPC_PORT_LABEL = "igw.dev/grpc-port"
"""Label of an endpoint with its port for gRPC, where it has another for HTTP. Requests go there if the pool's protocol is h2c."""

H2C = "kubernetes.io/h2c"
"""`appProtocol` of a pool that is spoken to in HTTP/2."""


def pools(manifests: Manifests) -> dict[str, Pool]:
    """Return every InferencePool by `namespace/name`, with the endpoints its selector takes, in file order.

    As in Kubernetes a pool takes endpoints of its own namespace that have all of its labels. One that was written
    without a port stands for one endpoint per target port, named `<name>-rank-<index>` where there are several
    (upstream's name for them).
    """
    return {
        pool.key: Pool(pool.name, pool.namespace, _members(pool, manifests.endpoints))
        for pool in manifests.pools
    }


def rewrites(manifests: Manifests) -> dict[str, tuple[InferenceModelRewrite, ...]]:
    """Return the rewrites of every pool that has some, by `namespace/name`, what has precedence first.

    The oldest first; those of unknown age after them, as they were read; then by `namespace/name`.
    """
    unknown = float("inf")
    placed = sorted(
        ((each.created, place if each.created == unknown else 0, each.key, each)
         for place, each in enumerate(manifests.rewrites)),
        key=lambda item: item[:3],
    )  # fmt: skip
    found: dict[str, tuple[InferenceModelRewrite, ...]] = {}
    for *_, each in placed:
        found[each.pool] = (*found.get(each.pool, ()), each)
    return found


def priorities(manifests: Manifests) -> dict[str, dict[str, int]]:
    """Return the priorities that requests can ask for: pool (`namespace/name`) -> name of the objective -> priority."""
    found: dict[str, dict[str, int]] = {}
    for each in manifests.objectives:
        found.setdefault(each.pool, {})[each.name] = each.spec.priority
    return found


def terms(manifests: Manifests) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Return how requests wait that name an objective: pool -> name of the objective -> (weight, time to live in seconds)."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for each in manifests.objectives:
        found.setdefault(each.pool, {})[each.name] = each.weight, each.queue_ttl_seconds
    return found


def slos(manifests: Manifests) -> dict[str, dict[str, Slo]]:
    """Return what requests are to take at most: pool -> name of the objective they ask for -> that; `""` for those without one.

    What an objective leaves out is as its pool has it. Pools of which nobody says anything are left out.
    """
    default = {pool.key: slo(pool.metadata.annotations) for pool in manifests.pools}
    found = {key: {"": each} for key, each in default.items()}
    for objective in manifests.objectives:
        of_pool = found.setdefault(objective.pool, {"": Slo()})
        of_pool[objective.name] = slo(objective.metadata.annotations).over(of_pool[""])
    return {key: named for key, named in found.items() if any(each != Slo() for each in named.values())}


def _members(pool: InferencePool, listed: tuple[ListedEndpoint, ...]) -> tuple[Endpoint, ...]:
    labels = pool.spec.selector.match_labels.items()
    members: dict[str, Endpoint] = {}
    for item in listed:
        if item.namespace == pool.namespace and labels <= item.labels.items():
            for endpoint in ranks(pool, item):
                # an address written both with a port and without one is one endpoint
                members.setdefault(endpoint.hostport, endpoint)
    return tuple(members.values())


def ranks(pool: InferencePool, item: ListedEndpoint) -> list[Endpoint]:
    """Return the endpoints that *item* stands for in *pool*: one per target port, if it names no port of its own.

    Raises:
        ConfigError: its label for a gRPC port is no port, or that for seats no number.
    """
    seats = item.labels.get(SEATS_LABEL, "1")
    if not (seats.isdecimal() and int(seats)):
        problem = f"{seats!r} is no number of requests"
        raise ConfigError(f"{item.source}: labels.{SEATS_LABEL}", problem, "1 or more, as --max-num-seqs")
    ports = [item.port] if item.port is not None else [port.number for port in pool.spec.target_ports]
    grpc_port = (
        item.labels.get(GRPC_PORT_LABEL) if pool.spec.app_protocol == H2C and len(ports) == 1 else None
    )
    if grpc_port is not None:
        port = _port(item, grpc_port)
        return [Endpoint.at(item.address, port, item.name, item.namespace, item.labels, http_port=ports[0])]
    names = [item.name] if len(ports) == 1 else [f"{item.name}-rank-{index}" for index in range(len(ports))]
    return [
        Endpoint.at(item.address, port, name, item.namespace, item.labels)
        for name, port in zip(names, ports, strict=True)
    ]


def _port(item: ListedEndpoint, written: str) -> int:
    port = int(written) if written.isdecimal() else 0
    if not 0 < port < 65536:
        raise ConfigError(
            f"{item.source}: labels.{GRPC_PORT_LABEL}", f"{written!r} is not a port", "1 to 65535"
        )
    return port
