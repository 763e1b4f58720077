"""Service level objectives through the real Envoy: what was wanted, whether it was attained, and where the time went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.harness import MODEL, Stack, stack
from tests.e2e.test_full_duplex import foreign

ANNOTATED = """
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: strict, annotations: {igw.dev/slo-ttft: 1ms, igw.dev/slo-e2e: 30s, igw.dev/slo-target: 90%}}
spec: {poolRef: {name: p}}
"""


async def send(running: Stack, **headers: str) -> None:
    """Send a stream and read it."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello " * 300}],
        "max_tokens": 30,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with running.http.post(f"{running.url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 200
        await answer.read()


async def lines(running: Stack) -> dict[tuple[str, str], Any]:
    """Return what the picker says, by objective and what of a request is meant."""
    async with running.http.get(f"http://{running.picker_addresses['metrics']}/debug/slo") as answer:
        assert answer.status == 200
        return {(line["objective"], line["of"]): line for line in await answer.json()}


async def test_objectives_are_judged_with_stages_that_the_proxy_saw(tmp_path: Path) -> None:
    """By annotation, read from an edited file, and by header; of a late answer all of the way is known."""
    async with stack(tmp_path) as running:
        running.file.write_text(running.file.read_text() + ANNOTATED)
        await running.becomes("igw_config_reloads_total", 1)
        await send(running, **{"x-llm-d-inference-objective": "strict"})
        wishes = {"x-slo-ttft-ms": "20000", "x-slo-tpot-ms": "1000", "x-igw-slo-e2e-ms": "1"}
        await send(running, **wishes)
        await running.becomes("igw_slo_requests_total", 5)
        found = await lines(running)
        results = {name: line["requests"] for name, line in found.items()}
        assert results == {
            ("strict", "ttft"): {"missed": 1}, ("strict", "e2e"): {"attained": 1},
            ("", "ttft"): {"attained": 1}, ("", "tpot"): {"attained": 1}, ("", "e2e"): {"missed": 1},
        }  # fmt: skip
        late = found["strict", "ttft"]
        assert late["target"] == 0.9
        assert late["windows"]["5m"]["burn_rate"] > 9.9
        assert late["missed_seconds"]["prefill"] > 0
        assert late["missed_seconds"]["routing"] > 0
        whole = found["", "e2e"]["missed_seconds"]
        assert whole["decode"] > 0
        assert not {"unknown", "server"} & {*whole, *late["missed_seconds"]}


async def test_where_answers_pass_through_their_pieces_are_seen_too(tmp_path: Path) -> None:
    """Another's gateway tells less: what the picker sees itself."""
    async with foreign(
        tmp_path, picker_flags=("--enable-grpc-stream-metrics", "--older-metric-names")
    ) as running:
        await send(running, **{"x-slo-ttft-ms": "1", "x-slo-tpot-ms": "1000"})
        await running.becomes("igw_slo_requests_total", 2)
        found = await lines(running)
        assert found["", "ttft"]["requests"] == {"missed": 1}
        assert found["", "ttft"]["missed_seconds"]["prefill"] > 0
        # thirty tokens; pieces that arrive together are one
        assert 1 <= await running.metric("llm_d_epp_request_streaming_itl_seconds_count") <= 31
        assert await running.metric("llm_d_epp_response_processing_duration_seconds_count") == 1
        await running.becomes("llm_d_epp_extproc_streams_total", 1)
        assert await running.metric("inference_objective_request_total") == 1
        assert await running.metric("llm_d_router_epp_request_total") == 1
