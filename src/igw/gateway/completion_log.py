"""How a request went, as an OTLP log record to the picker that placed it. What the picker makes of it is its business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from igw.gateway.filters import picker_log_cluster
from igw.gateway.xds import typed

ATTRIBUTES: Mapping[str, str] = {
    "decision": "%DYNAMIC_METADATA(envoy.lb:igw-decision)%",  # the picker's own id
    "request_id": "%REQ(X-REQUEST-ID)%",  # where Envoy has heard of no decision
    "endpoint": "%UPSTREAM_HOST%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",  # a gRPC answer has this one beside, and a 200 whatever it says
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "ttft_us": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%",
    "upstream_first_byte_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BODY_BEG:us)%",
    "upload_us": "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
    "download_us": "%COMMON_DURATION(US_RX_END:DS_TX_END:us)%",
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "bytes_out": "%BYTES_SENT%",
    "prompt_tokens": "%DYNAMIC_METADATA(igw.usage:prompt_tokens)%",
    "completion_tokens": "%DYNAMIC_METADATA(igw.usage:completion_tokens)%",
    "cached_tokens": "%DYNAMIC_METADATA(igw.usage:cached_tokens)%",
}
"""Attribute -> Envoy's format command. `-` stands for what is not known, as `duration_us` of an aborted answer."""

_FLUSH = "0.01s"
"""How long a record may wait for company."""


def access_logs(pools_by_picker: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return one access log per picker (`host:port` -> clusters of its pools).

    Requests that no picker placed are left out, but for those whose client left: the picker may have decided without Envoy
    having heard of it, and the reservation would stay.
    """
    alone = len(pools_by_picker) == 1
    return [_access_log(picker, () if alone else clusters) for picker, clusters in pools_by_picker.items()]


def _access_log(picker: str, clusters: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "or_filter": {
            "filters": [
                {
                    "metadata_filter": {
                        "matcher": {
                            "filter": "envoy.lb",
                            "path": [{"key": "igw-decision"}],
                            "value": {"present_match": True},
                        },
                        "match_if_key_not_found": False,
                    }
                },
                {"response_flag_filter": {"flags": ["DC"]}},
            ]
        }
    }
    if clusters:
        names = ", ".join(f"'{name}'" for name in clusters)
        mine = {
            "extension_filter": {
                "name": "cel",
                "typed_config": typed(
                    "access_loggers.filters.cel.v3.ExpressionFilter",
                    expression=f"xds.cluster_name in [{names}]",
                ),
            }
        }
        told = {"and_filter": {"filters": [told, mine]}}
    values = [{"key": key, "value": {"string_value": value}} for key, value in ATTRIBUTES.items()]
    return {
        "name": "completion",
        "filter": told,
        "typed_config": typed(
            "access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
            # deprecated since fields of the same names exist beside it, which xds-protos does not have yet
            common_config={
                "log_name": "completion",
                "transport_api_version": "V3",
                "buffer_flush_interval": _FLUSH,
                "grpc_service": {"envoy_grpc": {"cluster_name": picker_log_cluster(picker)}},
            },
            disable_builtin_labels=True,
            attributes={"values": values},
        ),
    }
