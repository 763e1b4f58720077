"""The settings of KV events."""

from pathlib import Path

import msgspec
import pytest

from igw.simulator.kv_events.config import KvEventsConfig, binds, shifted_endpoint


def test_the_json_of_a_vllm_command_line_is_taken_as_it_is() -> None:
    """The names and the defaults are vLLM's."""
    text = (
        b'{"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": "tcp://*:5600", "buffer_steps": 5,'
        b' "replay_endpoint": "tcp://*:5700", "hwm": 7, "topic": "kv@10.0.0.1@m"}'
    )
    config = msgspec.json.decode(text, type=KvEventsConfig)
    assert config.published
    assert (config.endpoint, config.replay_endpoint, config.topic) == (
        "tcp://*:5600",
        "tcp://*:5700",
        "kv@10.0.0.1@m",
    )
    assert (config.buffer_steps, config.hwm) == (5, 7)
    assert KvEventsConfig().endpoint == "tcp://*:5557"


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (KvEventsConfig(), False),
        (KvEventsConfig(publisher="zmq"), False),
        (KvEventsConfig(enable_kv_cache_events=True), True),
        (KvEventsConfig(enable_kv_cache_events=True, publisher="null"), False),
    ],
)
def test_events_are_sent_when_they_are_enabled_and_the_publisher_is_not_null(
    config: KvEventsConfig, published: bool
) -> None:
    """As in vLLM, the publisher follows from the switch unless it is named."""
    assert config.published is published


@pytest.mark.parametrize(
    ("endpoint", "bound"),
    [
        ("tcp://*:5557", True),
        ("tcp://[::]:5557", True),
        ("ipc:///run/kv", True),
        ("inproc://kv", True),
        ("tcp://127.0.0.1:*", True),
        ("tcp://router:5557", False),
    ],
)
def test_wildcards_ipc_and_inproc_are_bound_and_everything_else_is_connected_to(
    endpoint: str, bound: bool
) -> None:
    """The rule of vLLM."""
    assert binds(endpoint) is bound


@pytest.mark.parametrize(
    ("endpoint", "shifted"),
    [
        ("tcp://*:5557", "tcp://*:5560"),
        ("tcp://[::]:5557", "tcp://[::]:5560"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("inproc://kv", "inproc://kv_dp3"),
        ("ipc:///run/kv", "ipc:///run/kv_dp3"),
    ],
)
def test_another_engine_has_another_port_or_another_name(endpoint: str, shifted: str) -> None:
    """Ports count up, names get a suffix, a port that the system chooses stays chosen by the system."""
    assert shifted_endpoint(endpoint, 3) == shifted
    assert shifted_endpoint(endpoint, 0) == endpoint


def test_a_port_beyond_the_last_is_refused() -> None:
    """The sentence names the address and the engine."""
    with pytest.raises(ValueError, match=r"tcp://\*:65535 leaves no port for engine 1"):
        shifted_endpoint("tcp://*:65535", 1)


def test_replicas_and_ranks_bind_ports_of_their_own() -> None:
    """The second replica of three ranks follows the ranks of the first."""
    config = KvEventsConfig(endpoint="tcp://*:5557", replay_endpoint="tcp://*:6557")
    shifted = config.shifted(replica=1, rank=2, ranks=3)
    assert (shifted.endpoint, shifted.replay_endpoint) == ("tcp://*:5562", "tcp://*:6562")


def test_replicas_that_connect_share_an_address_and_only_ranks_differ() -> None:
    """Somebody else has bound it; vLLM still adds the rank."""
    shifted = KvEventsConfig(endpoint="tcp://router:5557").shifted(replica=4, rank=1, ranks=2)
    assert shifted.endpoint == "tcp://router:5558"


def test_event_ports_that_run_into_replay_ports_are_refused() -> None:
    """The usual 5557 and 5558 are fine for one engine and not for two."""
    config = KvEventsConfig(endpoint="tcp://*:5557", replay_endpoint="tcp://*:5558")
    config.check_ports(1)
    with pytest.raises(ValueError, match=r"5557-5558 and the replay ports 5558-5559 of 2 engines overlap"):
        config.check_ports(2)


def test_an_address_of_another_kind_is_refused() -> None:
    """Transports that nobody subscribes over are a mistake."""
    with pytest.raises(ValueError, match="endpoint must start with tcp://"):
        KvEventsConfig(endpoint="localhost:5557")
    with pytest.raises(msgspec.ValidationError, match="replay_endpoint must start with tcp://"):
        msgspec.json.decode(b'{"replay_endpoint": "udp://x"}', type=KvEventsConfig)


def test_every_setting_is_documented_with_its_default() -> None:
    """In the page of the simulator."""
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    section = page.split("\n## KV events\n")[1].split("\n## ")[0]
    rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
    assert set(rows) == {field.name for field in msgspec.structs.fields(KvEventsConfig)}
    for field in msgspec.structs.fields(KvEventsConfig):
        if isinstance(field.default, int | str) and field.default not in {"", "0"}:
            assert str(field.default).lower() in rows[field.name].split("|")[2]
