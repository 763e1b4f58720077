"""Endpoints and pools: how they are written on the wire, and the order that every column follows."""

from __future__ import annotations

import msgspec
import pytest

from igw.endpoint import Endpoint, Pool, hostport


@pytest.mark.parametrize(
    ("address", "port", "written"),
    [
        ("10.0.0.7", 8000, "10.0.0.7:8000"),
        ("::1", 8000, "[::1]:8000"),
        ("2001:db8::7", 443, "[2001:db8::7]:443"),
        ("model-server.default.svc", 8000, "model-server.default.svc:8000"),
    ],
)
def test_an_address_and_a_port_are_written_as_envoy_writes_them(
    address: str, port: int, written: str
) -> None:
    """IPv6 in brackets, everything else as it is."""
    assert hostport(address, port) == written


def test_an_endpoint_without_a_name_is_called_by_its_place() -> None:
    """The name is for people, the place is the identity."""
    assert Endpoint.at("::1", 8000).name == "[::1]:8000"
    named = Endpoint.at("10.0.0.7", 8000, "vllm-0", "serving", {"app": "vllm"})
    assert (named.name, named.namespace, named.hostport) == ("vllm-0", "serving", "10.0.0.7:8000")
    assert named.labels == {"app": "vllm"}


def test_endpoints_cannot_be_changed_in_place() -> None:
    """A snapshot is shared by every request that is being decided."""
    endpoint = Endpoint.at("10.0.0.7", 8000)
    with pytest.raises(AttributeError, match="immutable"):
        endpoint.port = 9000  # type: ignore[misc]
    assert msgspec.structs.replace(endpoint, port=9000) != endpoint


def test_a_pool_is_named_by_namespace_and_name() -> None:
    """This is what the gateway writes to say which pool it means."""
    pool = Pool("llama", "serving", (Endpoint.at("10.0.0.1", 1), Endpoint.at("10.0.0.2", 2)))
    assert pool.key == "serving/llama"
    assert len(pool) == 2


def test_an_accelerator_is_named_by_the_first_label_that_does() -> None:
    """Ours and upstream's before those that device plugins write."""
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "accelerator": "L4"}
    assert Endpoint.at("192.0.2.1", 8000, labels=labels).accelerator == "L4"
    assert (
        Endpoint.at("192.0.2.1", 8000, labels={"nvidia.com/gpu.product": "NVIDIA-L4"}).accelerator
        == "NVIDIA-L4"
    )
    assert Endpoint.at("192.0.2.1", 8000).accelerator == ""
