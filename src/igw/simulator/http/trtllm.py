"""What `trtllm-serve` has beside the OpenAI routes: `/metrics` is JSON there, and its Prometheus page is elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.ranks import EngineRank
from igw.simulator.serving import Serving


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the route of the iteration statistics: a list with the state of now, where the engine had steps."""

    async def statistics(_request: web.Request) -> web.Response:
        said = [_iteration(rank) for rank in serving.ranks if rank.histograms.iteration_tokens.count]
        return json_response(msgspec.json.encode(said))

    return [web.get("/metrics", statistics)]


def _iteration(rank: EngineRank) -> dict[str, Any]:
    now, config = rank.engine.statistics(), rank.engine.config
    used = round(now.kv_usage * config.num_gpu_blocks)
    queries = now.prefix_queries_tokens
    return {
        "iter": rank.histograms.iteration_tokens.count,
        "iterLatencyMS": rank.histograms.last_step_seconds * 1e3,
        "numActiveRequests": now.running,
        "numQueuedRequests": now.waiting,
        "numCompletedRequests": now.finished_stop + now.finished_length,
        "maxNumActiveRequests": config.max_num_seqs,
        "maxBatchSizeStatic": config.max_num_seqs,
        "maxBatchSizeRuntime": config.max_num_seqs,
        "maxNumTokensRuntime": config.max_num_batched_tokens,
        "kvCacheStats": {
            "maxNumBlocks": config.num_gpu_blocks,
            "freeNumBlocks": config.num_gpu_blocks - used,
            "usedNumBlocks": used,
            "tokensPerBlock": config.block_size,
            "reusedBlocks": now.prefix_hits_tokens // config.block_size,
            "cacheHitRate": now.prefix_hits_tokens / queries if queries else 0.0,
        },
        "inflightBatchingStats": {
            "numScheduledRequests": now.running,
            "numPausedRequests": 0,
        },
    }
