"""Manifests -> pools with their endpoints: pure, the same order for the same files. Watching files is not done here."""

from __future__ import annotations

from igw.config.inference import InferencePool, ListedEndpoint
from igw.config.manifests import Manifests
from igw.endpoint import Endpoint, Pool


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


def _members(pool: InferencePool, listed: tuple[ListedEndpoint, ...]) -> tuple[Endpoint, ...]:
    labels = pool.spec.selector.match_labels.items()
    members: dict[str, Endpoint] = {}
    for item in listed:
        if item.namespace == pool.namespace and labels <= item.labels.items():
            for endpoint in _ranks(pool, item):
                # an address written both with a port and without one is one endpoint
                members.setdefault(endpoint.hostport, endpoint)
    return tuple(members.values())


def _ranks(pool: InferencePool, item: ListedEndpoint) -> list[Endpoint]:
    ports = [item.port] if item.port is not None else [port.number for port in pool.spec.target_ports]
    names = [item.name] if len(ports) == 1 else [f"{item.name}-rank-{index}" for index in range(len(ports))]
    return [
        Endpoint.at(item.address, port, name, item.namespace, item.labels)
        for name, port in zip(names, ports, strict=True)
    ]
