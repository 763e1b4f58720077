"""What a user says about disaggregated serving, in the words of vLLM's `--kv-transfer-config`.

How blocks are held and fetched is in `holdings` and `http.transfer`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

KvRole = Literal["kv_producer", "kv_consumer", "kv_both"]

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class KvTransferConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's KVTransferConfig (`vllm/config/kv_transfer.py`) as far as NixlConnector uses it, and three settings of ours.

    `bandwidth_bytes_per_second`: what one server gets from another. The default is four fifths of the 400 Gb/s of one
    NVIDIA ConnectX-7 (its datasheet), the usual network card per GPU. `abort_request_timeout_seconds` is vLLM's
    VLLM_NIXL_ABORT_REQUEST_TIMEOUT: after it nobody is waited for. `side_channel_host` is VLLM_NIXL_SIDE_CHANNEL_HOST,
    where other servers reach this one; unset it is the address that the server listens on.
    """

    kv_role: KvRole = "kv_both"
    kv_connector: Literal["NixlConnector"] = "NixlConnector"
    engine_id: str | None = None
    kv_load_failure_policy: Literal["fail", "recompute"] = "fail"
    bandwidth_bytes_per_second: _Positive = 40e9
    abort_request_timeout_seconds: _Positive = 480.0
    side_channel_host: str | None = None

    @property
    def produces(self) -> bool:
        """Whether the server computes prompts for others."""
        return self.kv_role != "kv_consumer"

    @property
    def consumes(self) -> bool:
        """Whether the server fetches what others computed."""
        return self.kv_role != "kv_producer"
