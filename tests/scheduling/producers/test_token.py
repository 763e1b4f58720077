"""`token-producer`: the estimate is what a request carries anyway."""

from __future__ import annotations

from array import array

import msgspec
import numpy as np
import pytest

from igw.endpoint import Endpoint
from igw.facts import TOKENS, Facts
from igw.prefix.chain import Prompt, packed
from igw.request import Head, Request
from igw.scheduling.producers.token import TokenProducer


@pytest.mark.parametrize("parameters", [{}, {"estimate": {}}, {"estimate": {"image": {"mode": "static"}}}])
async def test_the_estimate_has_nothing_to_do(parameters: dict[str, object]) -> None:
    """Four bytes are a token."""
    producer = msgspec.convert(parameters, TokenProducer)
    zero = np.zeros(1)
    request = Request(Head("/", "POST", {}), prompt_bytes=41)
    assert producer.idle
    assert await producer.produce(request, Facts(zero, zero, zero, zero, zero)) == {}
    assert (producer.provides, request.prompt_tokens) == ((TOKENS,), 10)


def test_other_parameters_are_refused() -> None:
    """A typo is none of the known ones."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"estimat": {}}, TokenProducer)


async def test_a_server_that_says_the_tokens_is_asked() -> None:
    """By whoever has connections; nothing is added where it does not know."""
    producer = msgspec.convert({"modelName": "m", "deadline": "10ms"}, TokenProducer)
    zero = np.zeros(1)
    facts, request = Facts(zero, zero, zero, zero, zero), Request(Head("/", "POST", {}), prompt_bytes=41)
    assert not producer.idle
    assert producer.deadline_seconds == 0.01
    assert await producer.produce(request, facts) == {}
    answers = [Prompt(b"abcd"), None]

    async def ask(_request: Request, _endpoints: tuple[Endpoint, ...]) -> Prompt | None:
        return answers.pop(0)

    producer.ask = ask
    assert await producer.produce(request, facts) == {TOKENS: Prompt(b"abcd")}
    assert await producer.produce(request, facts) == {}


async def test_tokens_that_the_request_brings_are_not_asked_for() -> None:
    """Nobody knows better."""
    producer = msgspec.convert({"endpoints": {}}, TokenProducer)
    zero, part = np.zeros(1), memoryview(array("I", [1, 2])).cast("B")
    request = Request(Head("/v1/completions", "POST", {}), prompt=(part,), prompt_bytes=8)

    async def ask(_request: Request, _endpoints: tuple[Endpoint, ...]) -> Prompt | None:
        raise AssertionError

    producer.ask = ask
    found = await producer.produce(request, Facts(zero, zero, zero, zero, zero))
    assert found == {TOKENS: Prompt(packed([1, 2]))}


@pytest.mark.parametrize(
    "parameters",
    [
        {"estimate": {}, "modelName": "m"},
        {"vllm": {}, "local": {}},
        {"local": {}, "endpoints": {}},
        {"estimate": {}, "endpoints": {}},
    ],
)
def test_there_is_one_backend(parameters: dict[str, object]) -> None:
    """Upstream's rule."""
    with pytest.raises(msgspec.ValidationError, match="one of estimate, vllm"):
        msgspec.convert(parameters, TokenProducer)
