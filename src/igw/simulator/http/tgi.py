"""TGI's own API: `/generate`, `/generate_stream`, `/` and `/info`. Served in its dialect only, beside the OpenAI routes.

Every token is certain here, so its `logprob` is 0. Timings, which TGI tells in headers, are left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, Read, generate, json_response
from igw.simulator.http.call import Call, Sampling, call, text_or_tokens
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.usage import Ended
from igw.simulator.serving import Serving

VERSION = "3.3.4"
DEFAULT_TOKENS = 100
"""`max_new_tokens` of a request that has none."""

_encode = msgspec.json.encode


class Parameters(msgspec.Struct, frozen=True):
    """`parameters`; those that change nothing here are accepted and not read."""

    max_new_tokens: int | None = None
    stop: list[str] = []
    details: bool = False
    return_full_text: bool | None = None
    best_of: int | None = None
    seed: int | None = None
    adapter_id: str | None = None
    decoder_input_details: bool = False


class GenerateRequest(msgspec.Struct, frozen=True):
    """A body of `/generate`, `/generate_stream` and, with `stream` to choose between them, of `/`."""

    inputs: str
    parameters: Parameters = Parameters()
    stream: bool = False


_decoder = msgspec.json.Decoder(GenerateRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""

    def answers(read: Read) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await generate(serving, request, read, "")
            except ApiError as error:
                return _refused(error)

        return answer

    async def info(_request: web.Request) -> web.Response:
        return json_response(_encode(_info(serving)))

    return [
        web.post("/generate", answers(partial(read, stream=False))),
        web.post("/generate_stream", answers(partial(read, stream=True))),
        web.post("/", answers(partial(read, stream=None))),
        web.get("/info", info),
    ]


def read(body: bytes, stream: bool | None) -> tuple[Call, Callable[[Head, list[Choice]], TgiWriter]]:
    """Return what a body asks for and who words the answer; `stream` None lets the body say. ApiError 400 for a bad one."""
    request = decode(_decoder, body)
    parameters = request.parameters
    if parameters.best_of not in {None, 1}:
        raise ApiError(400, "`best_of` != 1 is not simulated: leave it out", param="best_of")
    if parameters.decoder_input_details:
        message = "`decoder_input_details` is not simulated: leave it out"
        raise ApiError(400, message, param="decoder_input_details")
    limit = DEFAULT_TOKENS if parameters.max_new_tokens is None else parameters.max_new_tokens
    sampling = Sampling(
        model=parameters.adapter_id,
        stop=parameters.stop,
        # TGI shows the stop sequence that ended an answer.
        include_stop_str_in_output=True,
        stream=request.stream if stream is None else stream,
    )
    asked = call(sampling, (text_or_tokens(request.inputs),), limit)
    before = request.inputs if parameters.return_full_text else ""
    return asked, partial(TgiWriter, parameters, before, stream is None)


def _refused(error: ApiError) -> web.Response:
    # TGI calls what a client did wrong unprocessable, and knows no other models to miss.
    status, kind = (422, "validation") if error.status == 400 else (error.status, "unavailable")
    return json_response(_encode({"error": error.message, "error_type": kind}), status)


def _info(serving: Serving) -> dict[str, Any]:
    limit = serving.config.engine.max_sequence_tokens
    return {
        "model_id": serving.config.model,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": 128,
        "max_best_of": 1,
        "max_stop_sequences": 4,
        "max_input_tokens": limit - 1,
        "max_total_tokens": limit,
        "validation_workers": 2,
        "max_client_batch_size": 4,
        "router": "text-generation-router",
        "version": VERSION,
        "sha": None,
        "docker_label": None,
    }


class TgiWriter:
    """Words one answer; `before` is shown in front of it, `listed` puts a whole answer in a list, as `/` does."""

    def __init__(
        self, parameters: Parameters, before: str, listed: bool, _head: Head, choices: list[Choice]
    ) -> None:
        self._parameters = parameters
        self._before = before
        self._listed = listed
        self._choice = choices[0]

    def whole(self, ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        [(choice, emission)] = ended
        said: dict[str, Any] = {"generated_text": self._before + choice.text}
        if self._parameters.details:
            tokens = [self._token(number) for number in range(emission.total_tokens)]
            said["details"] = self._details(emission) | {"prefill": [], "tokens": tokens}
        return _encode([said] if self._listed else said)

    def opening(self) -> bytes:
        """Return nothing: the first event is the first token's."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the event of one token; the last one has the whole text."""
        text = self._before + self._choice.text if emission.reason else None
        details = None
        if emission.reason and self._parameters.details:
            details = self._details(emission) | {"input_length": emission.sequence.prompt_tokens}
        number = emission.total_tokens
        said = {
            "index": number,
            "token": self._token(number - 1),
            "generated_text": text,
            "details": details,
        }
        return b"data:" + _encode(said) + b"\n\n"

    def closing(self, _ended: Ended) -> bytes:
        """Return nothing: the last token's event is the end."""
        return b""

    def _token(self, position: int) -> dict[str, Any]:
        choice = self._choice
        token = choice.tokens[choice.sequence.prompt_tokens + position]
        return {"id": token, "text": choice.pieces[position], "logprob": 0.0, "special": False}

    def _details(self, emission: Emission) -> dict[str, Any]:
        ended_by_model = "eos_token" if self._choice.stop_reason is None else "stop_sequence"
        return {
            "finish_reason": "length" if emission.reason == "length" else ended_by_model,
            "generated_tokens": emission.total_tokens,
            "seed": self._parameters.seed,
        }
