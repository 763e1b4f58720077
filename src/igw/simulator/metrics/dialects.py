"""The engines a server can talk like, by the names that endpoint pickers give them. What they say is in their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from igw.simulator.metrics.families import Dialect
from igw.simulator.metrics.sglang import SGLANG
from igw.simulator.metrics.tgi import TGI
from igw.simulator.metrics.triton import TRITON
from igw.simulator.metrics.trtllm import TRTLLM
from igw.simulator.metrics.vllm import VLLM
from igw.simulator.metrics.vllm_v0 import VLLM_V0

DialectName = Literal["vllm", "vllm-v0", "sglang", "trtllm-serve", "triton-tensorrt-llm", "tgi"]

DIALECTS: Mapping[DialectName, Dialect] = {
    "vllm": VLLM,
    "vllm-v0": VLLM_V0,
    "sglang": SGLANG,
    "trtllm-serve": TRTLLM,
    "triton-tensorrt-llm": TRITON,
    "tgi": TGI,
}
