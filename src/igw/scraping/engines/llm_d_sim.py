"""llm-d-inference-sim: it speaks vLLM's names, so only its own name is another. Our own simulator speaks the engine it is told to."""

from __future__ import annotations

from msgspec.structs import replace

from igw.scraping.engines.vllm import VLLM

LLM_D_SIM = replace(VLLM, name="llm-d-inference-sim", marks=())
