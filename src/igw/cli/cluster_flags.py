"""Flags on which objects a picker takes from where: names and words, and what they mean together. Following them is `igw.discovery`'s business."""

from __future__ import annotations

import os
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.groups import Group
from igw.errors import ConfigError

if TYPE_CHECKING:  # so that `igw --help` needs none of it
    from igw.app.settings import PickerSettings
    from igw.config.inference import InferencePool
    from igw.discovery.cluster import Scope
    from igw.discovery.reporting import ReportSettings
    from igw.discovery.watching import ClusterSettings

_MOST_PORTS = 8
_POOL_IN_LEASE = 200
"""How much of a pool's name may be in that of a Lease, which has 253 characters."""
_POD_OF_DEPLOYMENT = re.compile(r"(.+)-[a-z0-9]{1,10}-[a-z0-9]{5}")


class Named(Group, frozen=True):
    """Where pools come from."""

    files: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            help="Manifests: files or directories. Watched. Without: the cluster.",
            metavar="PATH",
        ),
    ] = None
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="The cluster to follow; else that of this Pod, of $KUBECONFIG, of ~/.kube/config."),
    ] = None
    namespace: Annotated[
        str,
        typer.Option(
            "--pool-namespace",
            envvar="NAMESPACE",
            help="Its namespace; else the cluster's current one, or default.",
        ),
    ] = ""
    pool_name: Annotated[
        str,
        typer.Option(help="The pool of gateways that name none; in a cluster the only one that is followed."),
    ] = ""
    pool_group: Annotated[str, typer.Option(help="API group of its InferencePool, in a cluster.")] = (
        "inference.networking.k8s.io"
    )
    selector: Annotated[
        str,
        typer.Option(
            "--endpoint-selector",
            help="Pods to serve without an InferencePool, as `kubectl get pods -l` takes it.",
        ),
    ] = ""
    target_ports: Annotated[
        str,
        typer.Option(
            "--endpoint-target-ports", help="Their ports, 1 to 8 with commas between.", metavar="PORT,..."
        ),
    ] = ""
    write_status: Annotated[
        bool,
        typer.Option(
            "--write-status/--no-write-status",
            help="Write into the status of pools, objectives and rewrites what is wrong with them.",
        ),
    ] = True
    leader_election: Annotated[
        bool,
        typer.Option(
            "--ha-enable-leader-election",
            help="Of several replicas only the holder of a Lease writes. All of them serve.",
        ),
    ] = False


def followed(settings: PickerSettings, named: Named) -> PickerSettings:
    """Return *settings* with where objects come from: a cluster unless there are files.

    Raises:
        ConfigError: flags that contradict each other, or no cluster.
    """
    of_cluster = {
        "--kubeconfig": named.kubeconfig,
        "--endpoint-selector": named.selector or named.target_ports,
        "--ha-enable-leader-election": named.leader_election,
    }
    if settings.paths and (flag := next((flag for flag, said in of_cluster.items() if said), "")):
        raise ConfigError(
            flag, "is for a cluster, and -f says that objects come from files", "leave out one of them"
        )
    cluster = None if settings.paths else _cluster(named)
    namespace = cluster.scope.namespace if cluster is not None else named.namespace or "default"
    pool = f"{namespace}/{named.pool_name}" if named.pool_name else ""
    return msgspec.structs.replace(settings, cluster=cluster, pool=pool)


def _cluster(named: Named) -> ClusterSettings:
    from igw.discovery.cluster import Scope
    from igw.discovery.watching import ClusterSettings
    from igw.kubernetes.client import configuration
    from igw.kubernetes.kinds import POOLS

    if named.pool_group not in POOLS:
        problem = f"there are no InferencePools of `{named.pool_group}`"
        raise ConfigError("--pool-group", problem, "known: " + ", ".join(POOLS))
    if named.selector and named.pool_name:
        raise ConfigError(
            "--endpoint-selector", "is for Pods without an InferencePool", "leave out --pool-name"
        )
    if bool(named.selector) != bool(named.target_ports):
        raise ConfigError("--endpoint-selector", "needs --endpoint-target-ports, and the other way round")
    config = configuration(named.kubeconfig)
    namespace, labels = named.namespace or config.namespace, named.selector
    if labels:
        standing = _standing(namespace, _ports(named.target_ports))
        scope = Scope(namespace, standing.name, named.pool_group, standing)
    else:
        scope = Scope(namespace, named.pool_name, named.pool_group)
    report = _report(scope, named) if named.write_status else None
    return ClusterSettings(config, scope, labels, report=report)


def _report(scope: Scope, named: Named) -> ReportSettings:
    """Return who writes status: every replica, or by turns; the Lease is for those who follow the same pools."""
    from igw.discovery.reporting import ReportSettings

    identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}"
    pool = f"-{scope.pool_name[:_POOL_IN_LEASE].rstrip('-.')}" if scope.pool_name else ""
    return ReportSettings(identity, f"igw{pool}.{scope.pool_group}" if named.leader_election else "")


def _standing(namespace: str, ports: list[int]) -> InferencePool:
    """Return the pool of Pods that are selected without an object. It asks for no labels: what is not selected is not seen."""
    from igw.config.gateway_api import ObjectMeta
    from igw.config.inference import InferencePool, PoolSpec, PortNumber, Selector

    meta = ObjectMeta(name=_own_name(), namespace=namespace)
    target_ports = tuple(PortNumber(number=port) for port in ports)
    spec = PoolSpec(selector=Selector(match_labels={}), target_ports=target_ports)
    return InferencePool(
        api_version="inference.networking.k8s.io/v1", kind="InferencePool", metadata=meta, spec=spec
    )


def _ports(written: str) -> list[int]:
    ports = dict.fromkeys(int(each) if each.strip().isdecimal() else 0 for each in written.split(","))
    if not all(0 < port < 65536 for port in ports) or len(ports) > _MOST_PORTS:
        raise ConfigError(
            "--endpoint-target-ports",
            f"`{written}` is not a list of 1 to {_MOST_PORTS} ports",
            "such as 8000,8001",
        )
    return list(ports)


def _own_name() -> str:
    """Return the name of the pool that has no object: that of our Deployment, as upstream has it, else `standalone`."""
    pod = os.environ.get("POD_NAME", "")
    found = _POD_OF_DEPLOYMENT.fullmatch(pod)
    return found[1] if found else pod or "standalone"
