"""Which endpoints a pool has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, ListedEndpoint, PoolSpec, PortNumber, Selector
from igw.config.manifests import Manifests, load
from igw.discovery.snapshot import pools


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
