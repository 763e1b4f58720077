"""JetStream, which serves MaxText on TPUs. Source: `jetstream/core/metrics/prometheus.py` of AI-Hypercomputer/JetStream."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

JETSTREAM = Engine(
    "jetstream",
    marks=(b"jetstream_",),
    waiting=(named("jetstream_prefill_backlog_size"),),
    # Every decode slot has its KV memory from the start, so slots in use are memory in use; 0 to 1 in spite of the name.
    kv_usage=(named("jetstream_slots_used_percentage"),),
    busy=(
        (named("jetstream_time_per_request_sum"), 1.0),
        (named("jetstream_wait_time_per_request_sum"), -1.0),
    ),
    lifetime=(named("jetstream_request_success_count_total"),),
)
