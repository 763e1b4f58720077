"""What any API asks of a model, in one form: a `Call`, and the fields that OpenAI's and vLLM's APIs share.

Which answer a call gets is in `deciding`; how each API words it, in the modules of the APIs.
"""

from __future__ import annotations

from array import array
from typing import Any

import msgspec

from igw.simulator.http.errors import ApiError
from igw.simulator.text import tokenize
from igw.simulator.transfer.params import KvTransferParams

MOST_CHOICES = 128
"""Largest `n`, as in OpenAI's API; vLLM's own limit is an environment variable."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request: what to generate from, how much, and how the client wants to hear of it.

    `said` is what the answer must be (JSON that a schema asked for) instead of words of ours; `tool` names the
    function whose arguments it is. `media_tokens` counts the part of the prompts that stands for pictures and sounds.
    """

    model: str | None
    prompts: tuple[array[int], ...]
    max_tokens: int | None
    n: int = 1
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    priority: int = 0
    cache_salt: str = ""
    said: str | None = None
    tool: str = ""
    tool_required: bool = False
    media_tokens: int = 0
    kv_transfer_params: KvTransferParams | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options` of the OpenAI API, with vLLM's `continuous_usage_stats`."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that chats and completions share.

    Everything else a client may send (top_p, seed, penalties, ...) changes nothing here and is accepted.
    """

    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    n: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    priority: int | None = None
    cache_salt: str | None = None
    logprobs: Any = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    echo: bool | None = None
    use_beam_search: bool | None = None
    structured_outputs: dict[str, Any] | None = None
    kv_transfer_params: KvTransferParams | None = None
    response_format: dict[str, Any] | None = None


def call(
    request: Sampling,
    prompts: tuple[array[int], ...],
    max_tokens: int | None,
    *,
    media_tokens: int = 0,
    said: tuple[str | None, str, bool] = (None, "", False),
) -> Call:
    """Return the call of *request*; ApiError 400 for what vLLM refuses and for what is not simulated."""
    _refuse_what_is_not_simulated(request)
    min_tokens = request.min_tokens or 0
    check_limits(max_tokens, min_tokens)
    options = request.stream_options or StreamOptions()
    if request.stream_options and not request.stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    if request.cache_salt == "":
        raise ApiError(
            400, "Parameter 'cache_salt' must be a non-empty string if provided.", param="cache_salt"
        )
    text, tool, required = said
    return Call(
        model=request.model,
        prompts=prompts,
        max_tokens=max_tokens,
        n=_choices(request),
        min_tokens=min_tokens,
        ignore_eos=bool(request.ignore_eos),
        stop=stop_strings(request.stop, "stop"),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        include_stop=bool(request.include_stop_str_in_output),
        stream=bool(request.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
        priority=request.priority or 0,
        cache_salt=request.cache_salt or "",
        said=text,
        tool=tool,
        tool_required=required,
        media_tokens=media_tokens,
        kv_transfer_params=request.kv_transfer_params,
    )


def check_limits(max_tokens: int | None, min_tokens: int = 0, name: str = "max_tokens") -> None:
    """Raise ApiError 400 unless an answer may have at least one token and `min_tokens` fit."""
    if max_tokens is not None and max_tokens < 1:
        message = f"{name} must be at least 1, got {max_tokens}. (parameter={name}, value={max_tokens})"
        raise ApiError(400, message, param=name)
    if min_tokens < 0:
        raise ApiError(
            400, f"min_tokens must be greater than or equal to 0, got {min_tokens}.", param="min_tokens"
        )
    if max_tokens is not None and min_tokens > max_tokens:
        message = f"min_tokens must be less than or equal to {name}={max_tokens}, got {min_tokens}."
        raise ApiError(400, message, param="min_tokens")


def stop_strings(stop: str | list[str] | None, param: str) -> tuple[str, ...]:
    """Return stop strings as a tuple; ApiError 400 for an empty one."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in strings:
        raise ApiError(400, f"{param} cannot contain an empty string.", param=param)
    return strings


def text_or_tokens(prompt: str | list[int]) -> array[int]:
    """Return the tokens of one prompt; ApiError 400 for an empty one and for ids that are none."""
    try:
        tokens = tokenize(prompt) if isinstance(prompt, str) else array("I", prompt)
    except (TypeError, OverflowError) as error:
        message = f"A prompt must be a text or a list of token ids from 0 to 2**32 - 1: {error}."
        raise ApiError(400, message, param="prompt") from error
    if not tokens:
        raise ApiError(400, "The prompt must not be empty.", param="prompt")
    return tokens


def _choices(request: Sampling) -> int:
    n = 1 if request.n is None else request.n
    if n < 1:
        raise ApiError(400, f"n must be at least 1, got {n}.", param="n")
    if n > MOST_CHOICES:
        raise ApiError(400, f"n must be at most {MOST_CHOICES}, got {n}.", param="n")
    if n > 1 and request.temperature == 0:
        raise ApiError(400, f"n must be 1 when using greedy sampling, got {n}.", param="n")
    return n


def _refuse_what_is_not_simulated(request: Sampling) -> None:
    asked = {
        "logprobs": request.logprobs is not None and request.logprobs is not False,
        "top_logprobs": bool(request.top_logprobs),
        "prompt_logprobs": request.prompt_logprobs is not None,
        "echo": bool(request.echo),
        "use_beam_search": bool(request.use_beam_search),
    }
    for name, wanted in asked.items():
        if wanted:
            raise ApiError(400, f"{name} is not simulated: leave it out.", param=name)
