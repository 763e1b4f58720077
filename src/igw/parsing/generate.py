"""`/generate`, which SGLang, TGI, vLLM's demonstration server and Ollama all call their own: told apart by the field that has the prompt.

So it does not matter which of their parsers is in force. Triton's `generate` has the model in its path and is in `parsing.kserve`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from igw.errors import BadRequest
from igw.parsing.answers import JsonAnswer
from igw.parsing.api import Api, Body, Found, Parser, Read
from igw.parsing.json_body import decoded, model_name, need, open_ended, present, token_ids
from igw.request import Head


class _Sampling(msgspec.Struct):
    max_new_tokens: int | None = None
    adapter_id: str | None = None


class _Session(msgspec.Struct):
    id: str | None = None


class Fields(msgspec.Struct):
    """The fields of all of them."""

    # SGLang: one of the first two; with several prompts, some of the others are lists.
    input_ids: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    sampling_params: _Sampling | list[_Sampling] | None = None
    extra_key: str | list[str] | None = None
    lora_path: str | list[str | None] | None = None
    session_params: _Session | list[_Session] | None = None
    # TGI
    inputs: msgspec.Raw = msgspec.Raw()
    parameters: _Sampling | None = None
    # vLLM's demonstration server; Ollama, which names a model
    prompt: msgspec.Raw = msgspec.Raw()
    max_tokens: int | None = None
    model: msgspec.Raw = msgspec.Raw()
    # more than one of them
    stream: bool | None = None
    priority: int | None = None


_decode = msgspec.json.Decoder(Fields).decode
_PROMPTS = ("input_ids", "text", "inputs", "prompt")


def _reader(suffix: str, *, streams: bool) -> Read:
    def read(_head: Head, body: Body) -> Found:
        fields = decoded(_decode, body, suffix)
        name = next((name for name in _PROMPTS if present(getattr(fields, name))), "")
        if not name:
            raise BadRequest(f"no prompt found in request body; {suffix} needs one of {', '.join(_PROMPTS)}")
        prompt = getattr(fields, name)
        need(prompt, name, suffix)
        ids = token_ids(prompt, name)
        if ids is None and name == "input_ids":
            raise BadRequest("`input_ids` in the request body is no list of tokens")
        model = model_name(fields.model)
        sampling = _first(fields.sampling_params) or fields.parameters
        adapter = _first(fields.lora_path) or (fields.parameters.adapter_id if fields.parameters else None)
        session = _first(fields.session_params)
        return Found(
            # An adapter is what is asked for where the base model goes without saying; it is not where a model's name would be.
            model=model or adapter or "",
            model_value=memoryview(fields.model) if model else None,
            stream=streams or bool(fields.stream),
            prompt=open_ended(prompt) if ids is None else (ids,),
            cache_salt=_first(fields.extra_key) or "",
            max_output_tokens=fields.max_tokens if sampling is None else sampling.max_new_tokens,
            session=(session.id or "") if session is not None else "",
            priority=fields.priority,
        )

    return read


def _first(value: Any) -> Any:
    """Return what is said once, or of the first of several prompts."""
    return (value[0] if value else None) if isinstance(value, list) else value


_answer = partial(JsonAnswer, "usage", "meta_info", "details")
_GENERATE = Api("generate", _reader("generate", streams=False), json=True, answer=_answer)

SGLANG_HTTP = Parser("sglanghttp-parser", (_GENERATE,))
TGI = Parser(
    "tgi-parser",
    (_GENERATE, Api("generate_stream", _reader("generate_stream", streams=True), json=True, answer=_answer)),
)
"""Upstream has none for it."""
