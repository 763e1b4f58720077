"""From `VllmEngine`'s messages to what any API asks of a model. Which answer that gets is in `http.deciding`.

Fields are those of the .proto file in the package smg-grpc-proto. What is not simulated is refused, not ignored.
"""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.simulator.http.call import Call, Sampling, call, text_or_tokens
from igw.simulator.http.errors import ApiError
from igw.simulator.http.structured import said_by
from igw.simulator.transfer.params import KvTransferParams

NOT_SIMULATED = 501
"""The status of an ApiError that becomes gRPC's UNIMPLEMENTED."""

_REFUSED = ("mm_inputs", "extra_mm_inputs", "media_refs", "kv_transfer_params")


def read_generate(request: pb.GenerateRequest) -> Call:
    """Return what *request* asks for; ApiError 400 for a bad one, NOT_SIMULATED for what nobody here can do."""
    present = {field.name for field, _ in request.ListFields()}
    for name in _REFUSED:
        if name in present:
            raise _not_simulated(name)
    params = request.sampling_params
    prompt = _truncated(_prompt(request), params)
    sampling = Sampling(
        n=params.n or 1,
        # Unset, it would be the model's own, which is not greedy.
        temperature=params.temperature if params.HasField("temperature") else None,
        min_tokens=params.min_tokens,
        ignore_eos=params.ignore_eos,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        include_stop_str_in_output=params.include_stop_str_in_output,
        stream=request.stream,
        kv_transfer_params=_transfer(request),
    )
    limit = params.max_tokens if params.HasField("max_tokens") else None
    return call(sampling, (prompt,), limit, said=said_by(None, _constraint(params)))


def read_tokens(tokenized: pb.TokenizedInput) -> array[int]:
    """Return the tokens of a prompt; ApiError 400 for an empty one."""
    return text_or_tokens(list(tokenized.input_ids))


def _prompt(request: pb.GenerateRequest) -> array[int]:
    kind = request.WhichOneof("input")
    if kind is None:
        raise ApiError(400, "Either tokenized or text must be set.", param="input")
    return text_or_tokens(request.text) if kind == "text" else read_tokens(request.tokenized)


def _truncated(prompt: array[int], params: pb.SamplingParams) -> array[int]:
    # As in vLLM the end of a prompt is kept, and -1 is the model's length, at which longer ones are refused anyway.
    if not params.HasField("truncate_prompt_tokens") or params.truncate_prompt_tokens == -1:
        return prompt
    if params.truncate_prompt_tokens < 1:
        message = f"truncate_prompt_tokens must be -1 or at least 1, got {params.truncate_prompt_tokens}."
        raise ApiError(400, message, param="truncate_prompt_tokens")
    return prompt[-params.truncate_prompt_tokens :]


def _constraint(params: pb.SamplingParams) -> dict[str, Any] | None:
    for name in ("logprobs", "prompt_logprobs"):
        if params.HasField(name):
            raise _not_simulated(name)
    kind = params.WhichOneof("constraint")
    if kind is None:
        return None
    if kind == "json_schema":
        return {"json": params.json_schema}
    if kind == "json_object":
        return {"json_object": params.json_object}
    raise _not_simulated(kind)


def _transfer(request: pb.GenerateRequest) -> KvTransferParams | None:
    if not request.HasField("kv_transfer_params_json"):
        return None
    try:
        return msgspec.json.decode(request.kv_transfer_params_json, type=KvTransferParams)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"kv_transfer_params_json: {error}.", param="kv_transfer_params_json") from error


def _not_simulated(name: str) -> ApiError:
    return ApiError(NOT_SIMULATED, f"{name} is not simulated: leave it out.", param=name)
