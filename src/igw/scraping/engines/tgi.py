"""Hugging Face's text-generation-inference 2 and 3. It tells nothing of its KV memory. Source: its `/metrics` documentation."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

TGI = Engine(
    "tgi",
    marks=(b"tgi_",),
    waiting=(named("tgi_queue_size"),),
    running=(named("tgi_batch_current_size"),),
    lifetime=(named("tgi_request_count"),),
)
