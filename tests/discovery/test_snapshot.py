"""Which endpoints a pool has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, ListedEndpoint, PoolSpec, PortNumber, Selector
from igw.config.manifests import Manifests, load
from igw.discovery.snapshot import pools, terms
from igw.endpoint import Pool
from igw.errors import ConfigError


def _pool(
    name: str, labels: dict[str, str], ports: tuple[int, ...] = (8000,), namespace: str = "default"
) -> InferencePool:
    return InferencePool(
        api_version="",
        kind="InferencePool",
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=PoolSpec(
            selector=Selector(match_labels=labels), target_ports=tuple(PortNumber(number=p) for p in ports)
        ),
    )


def _listed(
    name: str,
    labels: dict[str, str],
    port: int | None = 8000,
    namespace: str = "default",
    address: str = "10.0.0.1",
) -> ListedEndpoint:
    return ListedEndpoint(name, namespace, address, port, labels, "somewhere")


def test_a_pool_takes_endpoints_with_all_its_labels_from_its_namespace() -> None:
    """In file order, as a selector takes Pods."""
    manifests = Manifests(
        pools=(_pool("p", {"a": "1", "b": "2"}),),
        endpoints=(
            _listed("z", {"a": "1", "b": "2"}),
            _listed("no", {"a": "1"}, address="10.0.0.2"),
            _listed("x", {"a": "1", "b": "2", "c": "3"}, 9000),
            _listed("away", {"a": "1", "b": "2"}, 9001, namespace="other"),
        ),
    )
    pool = pools(manifests)["default/p"]
    assert [endpoint.name for endpoint in pool.endpoints] == ["z", "x"]
    assert [endpoint.hostport for endpoint in pool.endpoints] == ["10.0.0.1:8000", "10.0.0.1:9000"]


def test_an_endpoint_without_a_port_has_the_pools_target_ports() -> None:
    """One endpoint each, named by rank where there are several; IPv6 in brackets."""
    listed = (_listed("pod", {"a": "1"}, None, address="fd00::1"),)
    one = pools(Manifests(pools=(_pool("p", {"a": "1"}),), endpoints=listed))["default/p"]
    assert [(e.name, e.hostport) for e in one.endpoints] == [("pod", "[fd00::1]:8000")]
    two = pools(Manifests(pools=(_pool("p", {"a": "1"}, (8000, 8001)),), endpoints=listed))["default/p"]
    assert [(e.name, e.port) for e in two.endpoints] == [("pod-rank-0", 8000), ("pod-rank-1", 8001)]


def test_an_address_is_one_endpoint() -> None:
    """Even if it is written with and without its port."""
    listed = (_listed("a", {"a": "1"}, None), _listed("b", {"a": "1"}, 8000))
    assert len(pools(Manifests(pools=(_pool("p", {"a": "1"}),), endpoints=listed))["default/p"]) == 1


_LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)


@given(_LABELS.filter(bool), st.lists(_LABELS, max_size=8))
def test_selection_is_the_subset_of_labels(selector: dict[str, str], labels: list[dict[str, str]]) -> None:
    """For any selector and any endpoints, in their order."""
    listed = tuple(_listed(str(index), each, 8000 + index) for index, each in enumerate(labels))
    pool = pools(Manifests(pools=(_pool("p", selector),), endpoints=listed))["default/p"]
    expected = [
        str(index) for index, each in enumerate(labels) if all(each.get(k) == v for k, v in selector.items())
    ]
    assert [endpoint.name for endpoint in pool.endpoints] == expected


def test_upstreams_own_endpoints_file_is_read(tmp_path: Path) -> None:
    """Ports as strings, namespace by default."""
    entries: list[dict[str, Any]] = [
        {"name": "e", "address": "127.0.0.1", "port": "8200", "labels": {"a": "1"}}
    ]
    (tmp_path / "endpoints.yaml").write_text(yaml.safe_dump({"endpoints": entries}))
    assert load([tmp_path]).endpoints[0].port == 8200


def _h2c(port: str) -> Manifests:
    pool = _pool("p", {"a": "1"})
    pool = msgspec.structs.replace(
        pool, spec=msgspec.structs.replace(pool.spec, app_protocol="kubernetes.io/h2c")
    )
    listed = _listed("s", {"a": "1", "igw.dev/grpc-port": port})
    return Manifests(
        pools=(pool, _pool("http", {"a": "1"})), endpoints=(listed, _listed("t", {"a": "1"}, 9000))
    )


def test_a_pool_of_grpc_takes_the_port_for_it() -> None:
    """Metrics and health stay where they are; a pool of another protocol does not care."""
    found = pools(_h2c("50051"))
    assert [("10.0.0.1:50051", 8000), ("10.0.0.1:9000", None)] == [
        (endpoint.hostport, endpoint.http_port) for endpoint in found["default/p"].endpoints
    ]
    assert ["10.0.0.1:8000", "10.0.0.1:9000"] == [
        endpoint.hostport for endpoint in found["default/http"].endpoints
    ]


@pytest.mark.parametrize("seats", ["", "many", "0", "-1"])
def test_a_label_for_seats_says_how_many(seats: str) -> None:
    """With the place where it was written; without the label nobody knows."""
    pool = _pool("p", {"a": "1"})

    def found(labels: dict[str, str]) -> Pool:
        return pools(Manifests(pools=(pool,), endpoints=(_listed("s", {"a": "1"} | labels),)))["default/p"]

    assert found({}).endpoints[0].seats == 0
    assert found({"igw.dev/max-num-seqs": "4"}).endpoints[0].seats == 4
    with pytest.raises(
        ConfigError, match=r"somewhere: labels.igw.dev/max-num-seqs: .* is no number of requests"
    ):
        found({"igw.dev/max-num-seqs": seats})


@pytest.mark.parametrize("port", ["", "http", "0", "65536"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """With the place where it was written."""
    with pytest.raises(ConfigError, match=r"somewhere: labels.igw.dev/grpc-port: .* is not a port"):
        pools(_h2c(port))


def objective(tmp_path: Path, **annotations: str) -> Manifests:
    """Return manifests with one objective."""
    path = tmp_path / "objective.yaml"
    written = {f"igw.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    path.write_text(
        "apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\n"
        f"metadata: {{name: gold, annotations: {msgspec.json.encode(written).decode()}}}\n"
        "spec: {priority: 1, poolRef: {name: p}}\n"
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: p}\n"
        "spec: {selector: {matchLabels: {app: p}}, targetPorts: [{number: 8000}],"
        " endpointPickerRef: {name: epp, port: {number: 9002}}}\n"
    )
    return load([path])


def test_an_objective_may_say_how_its_requests_wait(tmp_path: Path) -> None:
    """Weight and time to live, both by annotation."""
    assert terms(objective(tmp_path)) == {"default/p": {"gold": (1.0, None)}}
    said = terms(objective(tmp_path, weight="2.5", queue_ttl="1m30s"))
    assert said == {"default/p": {"gold": (2.5, 90.0)}}
    for wrong in ({"weight": "0"}, {"weight": "much"}, {"queue_ttl": "soon"}):
        with pytest.raises(ConfigError, match=r"annotations\[igw\.dev/"):
            terms(objective(tmp_path, **wrong))
