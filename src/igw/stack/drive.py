"""Sends conversations through the gateway as a client would, with the OpenAI SDK, and judges every answer.

What is asked is in `traffic`; what the numbers mean is in `comparison`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from igw.stack.supervisor import PartFailed
from igw.stack.traffic import Conversation, Turn

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionMessageParam

Messages = Sequence["ChatCompletionMessageParam"]
Clock = Callable[[], float]

REQUEST_SECONDS = 30.0
"""A request that takes longer has failed."""
_ABANDONED_TOKENS = 4096
_ABANDONED_AFTER_CHUNKS = 3


class Answer(msgspec.Struct, frozen=True):
    """What came of one request."""

    streamed: bool
    text: str = ""
    ttft_seconds: float | None = None
    """From sending the request to the first text; streamed answers only."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    wrong: str = ""
    """What is wrong with the answer; empty when it is right."""
    error: str = ""
    """Why there is no answer; empty when there is one."""


Judge = Callable[[Messages, Turn, Answer], str]
"""Says what is wrong with an answer; nothing when it is right."""


def client(base_url: str) -> AsyncOpenAI:
    """Return a client that never retries: a failure is to be seen."""
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=REQUEST_SECONDS)


async def first_model(talk: AsyncOpenAI) -> str:
    """Return the first model the servers behind the gateway list; `PartFailed` when they list none."""
    from openai import OpenAIError

    try:
        models = (await talk.models.list()).data
    except OpenAIError as error:
        raise PartFailed("model servers", f"GET {talk.base_url}models: {error}") from error
    if not models:
        raise PartFailed("model servers", f"GET {talk.base_url}models lists no model")
    return models[0].id


async def hold(
    talk: AsyncOpenAI, model: str, asked: Sequence[Conversation], judge: Judge, clock: Clock
) -> list[Answer]:
    """Hold all conversations at the same time, the turns of each one after the other; *clock* is monotonic seconds."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_hold_one(talk, model, one, judge, clock)) for one in asked]
    return [answer for task in tasks for answer in task.result()]


async def abandon(talk: AsyncOpenAI, model: str, one: Conversation) -> None:
    """Ask for a long streamed answer and hang up in the middle of it."""
    stream = await talk.chat.completions.create(
        model=model,
        messages=_opening(one),
        max_tokens=_ABANDONED_TOKENS,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    chunks = 0
    async for _ in stream:
        chunks += 1
        if chunks == _ABANDONED_AFTER_CHUNKS:
            break
    await stream.close()


async def _hold_one(
    talk: AsyncOpenAI, model: str, one: Conversation, judge: Judge, clock: Clock
) -> list[Answer]:
    answers: list[Answer] = []
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": one.system}]
    for turn in one.turns:
        await asyncio.sleep(turn.pause_seconds)
        messages.append({"role": "user", "content": turn.question})
        try:
            answer = await (_streamed if turn.streamed else _whole)(talk, model, messages, turn, clock)
        except Exception as error:  # the SDK lets transport errors of several libraries through
            answers.append(Answer(turn.streamed, error=f"{type(error).__name__}: {error}"))
            return answers
        answers.append(msgspec.structs.replace(answer, wrong=judge(messages, turn, answer)))
        messages.append({"role": "assistant", "content": answer.text})
    return answers


def _opening(one: Conversation) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": one.system}, {"role": "user", "content": one.turns[0].question}]


async def _whole(
    talk: AsyncOpenAI, model: str, messages: list[ChatCompletionMessageParam], turn: Turn, clock: Clock
) -> Answer:
    del clock  # the first byte of an answer that is not streamed is also its last
    got = await talk.chat.completions.create(model=model, messages=messages, max_tokens=turn.max_tokens)
    return _with_usage(Answer(streamed=False, text=got.choices[0].message.content or ""), got.usage)


async def _streamed(
    talk: AsyncOpenAI, model: str, messages: list[ChatCompletionMessageParam], turn: Turn, clock: Clock
) -> Answer:
    sent, first = clock(), None
    pieces: list[str] = []
    usage: CompletionUsage | None = None
    stream = await talk.chat.completions.create(
        model=model,
        messages=messages,
        max_tokens=turn.max_tokens,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        piece = chunk.choices[0].delta.content if chunk.choices else None
        if piece:
            first = first or clock()
            pieces.append(piece)
    ttft_seconds = None if first is None else first - sent
    return _with_usage(Answer(streamed=True, text="".join(pieces), ttft_seconds=ttft_seconds), usage)


def _with_usage(answer: Answer, usage: CompletionUsage | None) -> Answer:
    if usage is None:
        return answer
    details = usage.prompt_tokens_details
    return msgspec.structs.replace(
        answer,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )
