"""Triton's HTTP API as far as its TensorRT-LLM backend uses it: the generate extension, health and metadata (KServe v2).

Served in its dialect only, beside the OpenAI routes, which Triton has on another port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.engine.sequence import Emission
from igw.simulator.http.answering import Head, generate, json_response
from igw.simulator.http.call import Call, Sampling, call, text_or_tokens
from igw.simulator.http.deciding import Choice
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.http.usage import Ended
from igw.simulator.serving import Serving

VERSION = "2.51.0"

_MODEL = "/v2/models/{model:.+?}"
_VERSIONED = _MODEL + "/versions/{version}"
_encode = msgspec.json.encode


class GenerateRequest(msgspec.Struct, frozen=True):
    """Inputs of the TensorRT-LLM backend's `ensemble`; others are accepted and not read."""

    text_input: str
    max_tokens: int
    stop_words: str | list[str] | None = None
    stream: bool = False
    exclude_input_in_output: bool = True


_decoder = msgspec.json.Decoder(GenerateRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""
    return [*_generate(serving), *_state(serving)]


def _generate(serving: Serving) -> list[web.RouteDef]:
    def answers(streams: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            model = request.match_info["model"]
            try:
                return await generate(serving, request, partial(read, model=model, streams=streams), "")
            except ApiError as error:
                message = error.message
                if error.status == 404:
                    message = f"Request for unknown model: '{model}' is not found"
                return json_response(_encode({"error": message}), error.status)

        return answer

    # The longer paths first: a model's name may have slashes in it.
    return [
        web.post(f"{path}/{verb}", answers(streams))
        for path in (_VERSIONED, _MODEL)
        for verb, streams in (("generate", False), ("generate_stream", True))
    ]


def _state(serving: Serving) -> list[web.RouteDef]:
    async def ready(_request: web.Request) -> web.Response:
        return web.Response(status=200 if serving.ready else 400)

    async def live(_request: web.Request) -> web.Response:
        return web.Response()

    async def server(_request: web.Request) -> web.Response:
        said = {"name": "triton", "version": VERSION, "extensions": ["statistics", "model_configuration"]}
        return json_response(_encode(said))

    async def model_ready(request: web.Request) -> web.Response:
        known = request.match_info["model"] in serving.names.served
        return web.Response(status=200 if known and serving.ready else 400)

    async def model(request: web.Request) -> web.Response:
        name = request.match_info["model"]
        if name not in serving.names.served:
            message = f"Request for unknown model: '{name}' is not found"
            return json_response(_encode({"error": message}), 404)
        return json_response(_encode(_metadata(name)))

    return [
        web.get("/v2/health/live", live),
        web.get("/v2/health/ready", ready),
        web.get(f"{_MODEL}/ready", model_ready),
        web.get(_MODEL, model),
        web.get("/v2", server),
    ]


def _metadata(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "versions": ["1"],
        "platform": "ensemble",
        "inputs": [
            {"name": "text_input", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "max_tokens", "datatype": "INT32", "shape": [-1, 1]},
            {"name": "stop_words", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "stream", "datatype": "BOOL", "shape": [-1, 1]},
        ],
        "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1, -1]}],
    }


def read(body: bytes, model: str, streams: bool) -> tuple[Call, Callable[[Head, list[Choice]], TritonWriter]]:
    """Return what a body asks for and who words the answer; ApiError 400 for a bad one.

    `/generate_stream` answers with events even if `stream` is not asked for; then there is one with everything.
    """
    request = decode(_decoder, body)
    if request.stream and not streams:
        # Triton's own words: one request, several responses.
        message = (
            "generate expects model to produce exactly 1 response, use generate stream for model that may generate "
            "various number of responses"
        )
        raise ApiError(400, message, param="stream")
    words = [request.stop_words] if isinstance(request.stop_words, str) else request.stop_words or []
    sampling = Sampling(model=model, stop=[word for word in words if word], stream=streams)
    asked = call(sampling, (text_or_tokens(request.text_input),), request.max_tokens)
    before = "" if request.exclude_input_in_output else request.text_input
    return asked, partial(TritonWriter, model, before, request.stream)


class TritonWriter:
    """Words one answer; `before` is shown in front of it, and with `pieces` each event has one token's text."""

    def __init__(self, model: str, before: str, pieces: bool, _head: Head, choices: list[Choice]) -> None:
        self._model = model
        self._before = before
        self._pieces = pieces
        self._choice = choices[0]

    def whole(self, _ended: Ended) -> bytes:
        """Return the body of an answer that is not streamed."""
        return self._said(self._before + self._choice.text)

    def opening(self) -> bytes:
        """Return nothing: the first event is the first token's."""
        return b""

    def token(self, emission: Emission) -> bytes:
        """Return the event of one token, or of all with the last."""
        if self._pieces:
            return self._event(self._choice.pieces[emission.total_tokens - 1])
        return self._event(self._before + self._choice.text) if emission.reason else b""

    def closing(self, _ended: Ended) -> bytes:
        """Return nothing: the stream just ends."""
        return b""

    def _event(self, text: str) -> bytes:
        return b"data: " + self._said(text) + b"\n\n"

    def _said(self, text: str) -> bytes:
        return _encode(
            {
                "model_name": self._model,
                "model_version": "1",
                "sequence_end": False,
                "sequence_id": 0,
                "sequence_start": False,
                "text_output": text,
            }
        )
