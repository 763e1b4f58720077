"""`/tokenize` and `/detokenize`, as vLLM 0.32 answers them.

What a token is, is decided in `text`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.call import text_or_tokens
from igw.simulator.http.errors import ApiError, decode
from igw.simulator.serving import Serving
from igw.simulator.text import detokenize, render_chat, tokenize


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/tokenize`: a text or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body of `/detokenize`."""

    tokens: list[int]
    model: str | None = None


_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API."""

    async def tokenized(request: web.Request) -> web.Response:
        asked = decode(_tokenize_decoder, await request.read())
        serving.names.adapter(asked.model)
        return json_response(tokens_of(asked, serving.config.engine.max_sequence_tokens))

    async def detokenized(request: web.Request) -> web.Response:
        asked = decode(_detokenize_decoder, await request.read())
        serving.names.adapter(asked.model)
        text = detokenize(text_or_tokens(asked.tokens)) if asked.tokens else ""
        return json_response(msgspec.json.encode({"prompt": text}))

    return [web.post("/tokenize", tokenized), web.post("/detokenize", detokenized)]


def tokens_of(asked: TokenizeRequest, max_model_len: int) -> bytes:
    """Return the body that tells the tokens of a text or a conversation; ApiError 400 when there is neither."""
    if asked.messages is not None:
        try:
            text = render_chat(asked.messages, asked.tools, add_generation_prompt=asked.add_generation_prompt)
        except ValueError as error:
            raise ApiError(400, f"{error}.", param="messages") from error
    elif asked.prompt is not None:
        text = asked.prompt
    else:
        raise ApiError(400, "Either prompt or messages must be given.", param="prompt")
    tokens = tokenize(text)
    strings = [detokenize([token]) for token in tokens] if asked.return_token_strs else None
    return msgspec.json.encode(
        {
            "count": len(tokens),
            "max_model_len": max_model_len,
            "tokens": tokens.tolist(),
            "token_strs": strings,
        }
    )
