"""The engines that need no configuration, and recognising one from its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from igw.scraping.engines.jetstream import JETSTREAM
from igw.scraping.engines.llama_cpp import LLAMA_CPP
from igw.scraping.engines.llm_d_sim import LLM_D_SIM
from igw.scraping.engines.sglang import SGLANG
from igw.scraping.engines.tgi import TGI
from igw.scraping.engines.triton import TRITON, TRITON_TENSORRT_LLM
from igw.scraping.engines.trtllm_serve import TRTLLM_SERVE
from igw.scraping.engines.vllm import VLLM
from igw.scraping.mapping import Engine

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        VLLM, LLM_D_SIM, SGLANG, TRTLLM_SERVE, TRITON_TENSORRT_LLM, TRITON, TGI, JETSTREAM, LLAMA_CPP,
    )
}  # fmt: skip
"""By name, in the order in which pages are compared with their marks: Triton's own metrics are beside those of its backends."""


def recognised(page: bytes, engines: Iterable[Engine]) -> Engine | None:
    """Return the first of *engines* whose mark a line of *page* begins with, or None."""
    for engine in engines:
        for mark in engine.marks:
            if page.startswith(mark) or b"\n" + mark in page:
                return engine
    return None
