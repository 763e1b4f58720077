"""What is said about a handover in requests and answers."""

import msgspec

from igw.simulator.transfer.params import KvTransferParams, flat


def test_block_ids_may_be_numbers_or_lists_of_them() -> None:
    """Older vLLM sends one list, newer one list per group of layers."""
    nested = msgspec.json.decode(b'{"remote_block_ids": [[1, 2], [3]]}', type=KvTransferParams)
    plain = msgspec.json.decode(b'{"remote_block_ids": [1, 2, 3]}', type=KvTransferParams)
    assert flat(nested.remote_block_ids or []) == flat(plain.remote_block_ids or []) == (1, 2, 3)


def test_what_a_sidecar_sends_to_a_prefill_server_can_be_read() -> None:
    """All remote fields are null then; fields of other connectors are ignored."""
    text = (
        b'{"do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": null, "remote_block_ids": null,'
        b' "remote_host": null, "remote_port": null, "transfer_id": "x"}'
    )
    params = msgspec.json.decode(text, type=KvTransferParams)
    assert params.do_remote_decode is True
    assert params.missing == [
        "remote_engine_id",
        "remote_block_ids",
        "remote_host",
        "remote_port",
        "remote_request_id",
    ]


def test_nothing_is_missing_from_what_a_prefill_server_answers() -> None:
    """The parameters go to the decode server as they are."""
    params = KvTransferParams(
        do_remote_prefill=True,
        remote_engine_id="e",
        remote_block_ids=[[1]],
        remote_host="127.0.0.1",
        remote_port=1,
        remote_request_id="r",
    )
    assert params.missing == []
