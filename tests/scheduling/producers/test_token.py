"""`token-producer`: the estimate is what a request carries anyway."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from igw.facts import TOKENS, Facts
from igw.request import Head, Request
from igw.scheduling.producers.token import TokenProducer


@pytest.mark.parametrize("parameters", [{}, {"estimate": {}}, {"estimate": {"image": {"mode": "static"}}}])
def test_the_estimate_has_nothing_to_do(parameters: dict[str, object]) -> None:
    """Four bytes are a token."""
    producer = msgspec.convert(parameters, TokenProducer)
    zero = np.zeros(1)
    request = Request(Head("/", "POST", {}), prompt_bytes=41)
    assert producer.idle
    assert producer.produce(request, Facts(zero, zero, zero, zero, zero)) == {}
    assert (producer.provides, request.prompt_tokens) == ((TOKENS,), 10)


def test_other_parameters_are_refused() -> None:
    """A typo is none of the known ones."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"estimat": {}}, TokenProducer)
