"""llama.cpp's server (`--metrics`). Versions since mid-2025 tell nothing of KV memory. Source: a recorded page, and its README."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

LLAMA_CPP = Engine(
    "llama.cpp",
    marks=(b"llamacpp:",),
    waiting=(named("llamacpp:requests_deferred"),),
    running=(named("llamacpp:requests_processing"),),
    lifetime=(named("llamacpp:prompt_tokens_total"),),
)
