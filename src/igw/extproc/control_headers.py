"""Headers by which a client steers the picker; no model server should see them. What they mean is read elsewhere."""

from __future__ import annotations

CONTROL_HEADERS = frozenset(
    {
        "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id",
        "x-llm-d-inference-objective", "x-gateway-inference-objective",
        "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite",
        "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms",
        "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint-served",
        "x-llm-d-request-dropped-reason", "x-igw-queue-ttl-ms", "x-igw-queue-updates",
        "x-igw-explain", "x-igw-slo-e2e-ms",
    }
)  # fmt: skip
