"""The settings of disaggregated serving."""

from pathlib import Path

import msgspec
import pytest

from igw.simulator.transfer.config import KvTransferConfig


def test_the_json_of_a_vllm_command_line_is_taken_as_it_is() -> None:
    """Names and the policy's default are vLLM's."""
    text = b'{"kv_connector": "NixlConnector", "kv_role": "kv_producer", "engine_id": "p"}'
    config = msgspec.json.decode(text, type=KvTransferConfig)
    assert (config.kv_role, config.engine_id, config.kv_load_failure_policy) == ("kv_producer", "p", "fail")
    assert config.abort_request_timeout_seconds == 480


@pytest.mark.parametrize(
    ("role", "produces", "consumes"),
    [("kv_producer", True, False), ("kv_consumer", False, True), ("kv_both", True, True)],
)
def test_a_role_says_what_a_server_does(role: str, produces: bool, consumes: bool) -> None:
    """Both is the default, as in vLLM's examples."""
    config = msgspec.convert({"kv_role": role}, KvTransferConfig)
    assert (config.produces, config.consumes) == (produces, consumes)
    assert KvTransferConfig().kv_role == "kv_both"


def test_another_connector_is_refused() -> None:
    """Only NIXL is simulated."""
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'P2pNcclConnector'"):
        msgspec.convert({"kv_connector": "P2pNcclConnector"}, KvTransferConfig)


def test_every_setting_is_documented() -> None:
    """In the page of the simulator."""
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    section = page.split("\n## Disaggregation\n")[1].split("\n## ")[0]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert rows == [field.name for field in msgspec.structs.fields(KvTransferConfig)]
