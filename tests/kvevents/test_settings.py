"""Where engines publish, and which endpoint a topic names."""

from __future__ import annotations

import pytest

from igw.endpoint import Endpoint
from igw.kvevents.settings import Address, EventSettings, addresses, named_by

ENDPOINTS = (
    Endpoint.at("10.0.0.1", 8001, "pod-a-1"),
    Endpoint.at("10.0.0.1", 8000, "pod-a-0"),
    Endpoint.at("10.0.0.2", 8000, "pod-b", labels={"igw.dev/kv-events-port": "7000", "igw.dev/kv-events-replay-port": "7001"}),
    Endpoint.at("fd00::1", 8000, "pod-c"),
)  # fmt: skip


def test_each_rank_of_an_address_has_a_port_of_its_own() -> None:
    """One more for each further endpoint, as vLLM adds the rank; labels win; IPv6 has brackets."""
    assert addresses(EventSettings(port=5557, replay_port=6557), ENDPOINTS) == {
        "10.0.0.1:8000": Address("tcp://10.0.0.1:5557", "tcp://10.0.0.1:6557"),
        "10.0.0.1:8001": Address("tcp://10.0.0.1:5558", "tcp://10.0.0.1:6558"),
        "10.0.0.2:8000": Address("tcp://10.0.0.2:7000", "tcp://10.0.0.2:7001"),
        "[fd00::1]:8000": Address("tcp://[fd00::1]:5557", "tcp://[fd00::1]:6557"),
    }


def test_without_a_port_only_endpoints_with_a_label_are_listened_to() -> None:
    """But for engines that connect to us: their topics say who they are."""
    assert list(addresses(EventSettings(port=0, replay_port=6557), ENDPOINTS)) == ["10.0.0.2:8000"]
    assert len(addresses(EventSettings(bind="tcp://*:5557", port=0), ENDPOINTS)) == 4


def test_without_a_replay_port_there_is_no_replay() -> None:
    """But where a label names one."""
    found = addresses(EventSettings(), ENDPOINTS)
    assert [each.replay for each in found.values()] == ["", "", "tcp://10.0.0.2:7001", ""]


@pytest.mark.parametrize("port", ["", "x", "0", "70000", "-1"])
def test_a_label_that_is_no_port_is_not_used(port: str) -> None:
    """The configuration's is."""
    endpoint = Endpoint.at("10.0.0.1", 8000, labels={"igw.dev/kv-events-port": port})
    assert addresses(EventSettings(), [endpoint])["10.0.0.1:8000"].events == "tcp://10.0.0.1:5557"


@pytest.mark.parametrize(
    ("topic", "hostport"),
    [
        ("kv@10.0.0.1:8001@m", "10.0.0.1:8001"),
        ("kv@pod-b@m", "10.0.0.2:8000"),
        ("kv@10.0.0.2@m", "10.0.0.2:8000"),
        ("kv@[fd00::1]:8000@m", "[fd00::1]:8000"),
        ("kv@10.0.0.1@m", None),
        ("kv@10.0.0.9:8000@m", None),
        ("", None),
    ],
)
def test_a_topic_names_one_endpoint_or_none(topic: str, hostport: str | None) -> None:
    """By `ip:port`, by name, or by an address that only one has."""
    assert named_by(topic, ENDPOINTS) == hostport
