"""From what an engine produces to `VllmEngine`'s messages. Sending them is `service`'s."""

from __future__ import annotations

from typing import Any

import msgspec
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.deciding import Choice
from igw.simulator.http.stream import VERSION
from igw.simulator.ranks import EngineRank
from igw.simulator.serving import Serving


class GenerateWriter:
    """Words the answer to one request: pieces of it as they come, and each choice's end."""

    def __init__(self, choices: list[Choice], told: dict[str, Any] | None) -> None:
        self._choices = {choice.sequence.id: choice for choice in choices}
        self._told = None if told is None else msgspec.json.encode(told).decode()
        self._heard: dict[str, Emission] = {}

    def piece(self, emission: Emission) -> pb.GenerateResponse:
        """Return the tokens that are new with *emission*."""
        self._heard[emission.sequence.id] = emission
        choice, total = self._choices[emission.sequence.id], emission.total_tokens
        return pb.GenerateResponse(
            chunk=pb.GenerateStreamChunk(
                token_ids=_generated(choice, total - emission.new_tokens, total),
                prompt_tokens=emission.sequence.prompt_tokens,
                completion_tokens=total,
                cached_tokens=emission.cached_tokens,
                index=choice.index,
            )
        )

    def end(self, emission: Emission) -> pb.GenerateResponse:
        """Return the end of a choice whose last emission is *emission*."""
        choice = self._choices.pop(emission.sequence.id)
        complete = self._complete(choice, emission.total_tokens, str(emission.reason), emission.cached_tokens)
        if isinstance(choice.stop_reason, int):
            complete.matched_token_id = choice.stop_reason
        elif choice.stop_reason is not None:
            complete.matched_stop_str = choice.stop_reason
        if self._told is not None:
            complete.kv_transfer_params_json = self._told
        return pb.GenerateResponse(complete=complete)

    def aborted(self) -> list[pb.GenerateResponse]:
        """Return the ends of all choices that have none yet; an answer that was not streamed has no tokens then."""
        found = []
        for choice in self._choices.values():
            heard = self._heard.get(choice.sequence.id)
            total, cached = (heard.total_tokens, heard.cached_tokens) if heard else (0, 0)
            found.append(pb.GenerateResponse(complete=self._complete(choice, total, "abort", cached)))
        return found

    def _complete(self, choice: Choice, total: int, reason: str, cached: int) -> pb.GenerateComplete:
        return pb.GenerateComplete(
            output_ids=_generated(choice, 0, total),
            finish_reason=reason,
            prompt_tokens=choice.sequence.prompt_tokens,
            completion_tokens=total,
            cached_tokens=cached,
            index=choice.index,
        )


def model_info(serving: Serving) -> pb.GetModelInfoResponse:
    """Return what is known of the model; a token is any number of 32 bits, and none of them ends an answer."""
    config = serving.config
    return pb.GetModelInfoResponse(
        model_path=config.model,
        is_generation=True,
        max_context_length=config.engine.max_sequence_tokens,
        vocab_size=2**32 - 1,
        served_model_name=config.names[0],
        tokenizer_path=config.model,
        model_type="igw-simulator",
        max_req_input_len=config.engine.max_sequence_tokens - 1,
        default_sampling_params_json="{}",
    )


def server_info(serving: Serving, uptime_seconds: float, last_request: float) -> pb.GetServerInfoResponse:
    """Return the state of the server; `last_request` is when one came last, as Unix time, 0 if none did."""
    config, transfer = serving.config, serving.config.kv_transfer
    statistics = [rank.engine.statistics() for rank in serving.ranks]
    info = pb.GetServerInfoResponse(
        active_requests=sum(now.running + now.waiting for now in statistics),
        is_paused=any(now.asleep for now in statistics),
        last_receive_timestamp=last_request,
        uptime_seconds=uptime_seconds,
        server_type="vllm-grpc",
        data_parallel_size=config.data_parallel_size,
        kv_cache_dtype="auto",
        block_size=config.engine.block_size,
        model_dtype="torch.bfloat16",
        max_num_seqs=config.engine.max_num_seqs,
    )
    if transfer is not None and serving.transfers is not None:
        info.kv_connector, info.kv_role = transfer.kv_connector, transfer.kv_role
        info.kv_engine_id = serving.transfers.holdings.engine_id
    return info


def loads(serving: Serving, rank: int | None, timestamp: str) -> pb.GetLoadsResponse:
    """Return the load of each data-parallel rank, or of the one asked for."""
    found = [_load(each) for each in serving.ranks if rank in {None, each.number}]
    return pb.GetLoadsResponse(
        timestamp=timestamp, version=VERSION, dp_rank_count=serving.config.data_parallel_size, loads=found
    )


def _load(rank: EngineRank) -> pb.SchedulerLoad:
    now, config = rank.engine.statistics(), rank.engine.config
    queries, seconds = now.prefix_queries_tokens, rank.histograms.last_step_seconds
    return pb.SchedulerLoad(
        dp_rank=rank.number,
        num_running_reqs=now.running,
        num_waiting_reqs=now.waiting,
        num_total_reqs=now.running + now.waiting,
        num_used_tokens=round(now.kv_usage * config.num_gpu_blocks) * config.block_size,
        max_total_num_tokens=config.num_gpu_blocks * config.block_size,
        token_usage=now.kv_usage,
        gen_throughput=now.running / seconds if seconds else 0.0,
        cache_hit_rate=now.prefix_hits_tokens / queries if queries else 0.0,
        utilization=now.running / config.max_num_seqs,
        max_running_requests=config.max_num_seqs,
    )


def _generated(choice: Choice, first: int, last: int) -> list[int]:
    prompt = choice.sequence.prompt_tokens
    return list(choice.tokens[prompt + first : prompt + last])
