"""SGLang's native API: `/generate`, and what tells of the model. Served in its dialect only, beside the OpenAI routes.

A stream repeats the whole text so far in every event, as SGLang does unless told otherwise.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate, json_response
from igw.simulator.http.call import Call, Sampling, call, text_or_tokens
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.stream import DONE
from igw.simulator.http.usage import Ended
from igw.simulator.serving import Serving

DEFAULT_TOKENS = 128
"""`max_new_tokens` of a request that has none."""

_encode = msgspec.json.encode


class SamplingParams(msgspec.Struct, frozen=True):
    """`sampling_params`; those that change nothing here are accepted and not read."""

    max_new_tokens: int | None = None
    min_new_tokens: int = 0
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    n: int = 1


class GenerateRequest(msgspec.Struct, frozen=True):
    """A body of `/generate`: `text` or `input_ids`, each one or a list; `extra_key` keeps caches apart."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    sampling_params: SamplingParams = SamplingParams()
    rid: str | None = None
    stream: bool = False
    return_logprob: bool = False
    extra_key: str | None = None
    lora_path: str | None = None


_decoder = msgspec.json.Decoder(GenerateRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""
    config = serving.config

    async def generated(request: web.Request) -> web.StreamResponse:
        try:
            return await generate(serving, request, read, "")
        except ApiError as error:
            return json_response(_encode({"error": {"message": error.message}}), error.status)

    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=200 if serving.ready else 503)

    async def model_info(_request: web.Request) -> web.Response:
        return json_response(
            _encode(
                {
                    "model_path": config.model,
                    "tokenizer_path": config.model,
                    "is_generation": True,
                    "preferred_sampling_params": None,
                    "weight_version": "default",
                }
            )
        )

    async def server_info(_request: web.Request) -> web.Response:
        return json_response(
            _encode(
                {
                    "model_path": config.model,
                    "served_model_name": config.names[0],
                    "context_length": config.engine.max_model_len,
                    "page_size": config.engine.block_size,
                    "max_running_requests": config.engine.max_num_seqs,
                    "max_total_num_tokens": config.engine.num_gpu_blocks * config.engine.block_size,
                    "tp_size": config.tensor_parallel,
                    "dp_size": config.data_parallel_size,
                    "status": "ready" if serving.ready else "starting",
                }
            )
        )

    async def flush_cache(_request: web.Request) -> web.Response:
        done = serving.ranks.reset_prefix_cache()
        text = "Cache flushed." if done else "Cache not flushed: requests are running."
        return web.Response(text=f"{text}\n", status=200 if done else 400)

    return [
        web.post("/generate", generated),
        web.get("/health_generate", health),
        web.get("/get_model_info", model_info),
        web.get("/model_info", model_info),
        web.get("/get_server_info", server_info),
        web.get("/server_info", server_info),
        web.post("/flush_cache", flush_cache),
    ]


def read(body: bytes) -> tuple[Call, Callable[[Head, list[Choice]], SglangWriter]]:
    """Return what a body asks for and who words the answer; ApiError 400 for a bad one."""
    request = decode(_decoder, body)
    if request.return_logprob:
        raise ApiError(400, "return_logprob is not simulated: leave it out.", param="return_logprob")
    params = request.sampling_params
    prompts, listed = _prompts(request)
    limit = DEFAULT_TOKENS if params.max_new_tokens is None else params.max_new_tokens
    sampling = Sampling(
        model=request.lora_path,
        min_tokens=params.min_new_tokens,
        stop=params.stop,
        stop_token_ids=params.stop_token_ids,
        ignore_eos=params.ignore_eos,
        n=params.n,
        stream=request.stream,
        cache_salt=request.extra_key or None,
    )
    asked = call(sampling, prompts, limit)
    return asked, partial(SglangWriter, request.rid, listed or params.n > 1)


def _prompts(request: GenerateRequest) -> tuple[tuple[array[int], ...], bool]:
    given = request.text if request.input_ids is None else request.input_ids
    if given is None or (request.text is not None and request.input_ids is not None):
        raise ApiError(400, "Either text, input_ids or input_embeds should be provided.", param="text")
    if isinstance(given, str) or not given or isinstance(given[0], int):
        return (text_or_tokens(given),), False  # type: ignore[arg-type]  # a mixed list is refused there
    return tuple(text_or_tokens(each) for each in given), True  # type: ignore[arg-type]


class SglangWriter:
    """Words one answer: an object per choice, in a list if several were asked for."""

    def __init__(self, rid: str | None, listed: bool, head: Head, choices: list[Choice]) -> None:
        self._rid = rid or head.id
        self._listed = listed
        self._choices = {choice.sequence.id: choice for choice in choices}

    def whole(self, ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        said = [self._said(choice, emission) for choice, emission in ended]
        return _encode(said if self._listed else said[0])

    def opening(self) -> bytes:
        """Return nothing: the first event is the first token's."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the event of one token."""
        choice = self._choices[emission.sequence.id]
        said = self._said(choice, emission)
        if self._listed:
            said["index"] = choice.index
        return b"data: " + _encode(said) + b"\n\n"

    def closing(self, _ended: Ended) -> bytes:
        """Return the end."""
        return DONE

    def _said(self, choice: Choice, emission: Emission) -> dict[str, Any]:
        prompt, generated = emission.sequence.prompt_tokens, emission.total_tokens
        return {
            "text": "".join(choice.pieces[:generated]),
            "output_ids": list(choice.tokens[prompt : prompt + generated]),
            "meta_info": {
                "id": self._rid if not self._listed else f"{self._rid}_{choice.index}",
                "finish_reason": _finish_reason(choice, generated) if emission.reason else None,
                "prompt_tokens": prompt,
                "weight_version": "default",
                "completion_tokens": generated,
                "cached_tokens": emission.cached_tokens,
            },
        }


def _finish_reason(choice: Choice, generated: int) -> dict[str, Any]:
    if choice.sequence.finish_reason == "length":
        return {"type": "length", "length": generated}
    return {"type": "stop"} | ({} if choice.stop_reason is None else {"matched": choice.stop_reason})
