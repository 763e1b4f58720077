"""Paths -> APIs: whole segments only, whatever stands before and behind them."""

from __future__ import annotations

import pytest

from igw.parsing.anthropic import ANTHROPIC
from igw.parsing.api import Api, Found, Parser
from igw.parsing.openai import OPENAI
from igw.parsing.registry import PARSERS, PASSTHROUGH, Apis
from igw.scheduling import registry


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("/v1/chat/completions", "chat/completions"),
        ("/v1/completions", "completions"),
        ("/v1/responses", "responses"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/messages", "messages"),
        ("/chat/completions", "chat/completions"),
        ("/tenants/7/openai/v1/chat/completions", "chat/completions"),
        ("/v1/chat/completions/", "chat/completions"),
        ("/v1/completions//", "completions"),
        ("/v1/completions?api-version=1", "completions"),
        ("/v1/completions/?next=/v1/embeddings", "completions"),
        ("/v1/mychat/completions", "completions"),
        ("/v1/chat/completions/render", "chat/completions/render"),
        ("/v1/completions/render", "completions/render"),
        ("/v1/messages/count_tokens?beta=true", "messages/count_tokens"),
        ("/inference/v1/generate", "inference/v1/generate"),
        ("/v1/generate", "generate"),
        ("/v2/models/m/generate", "v2/models/*/generate"),
        ("/triton/v2/models/m/versions/1/infer/", "v2/models/*/versions/*/infer"),
        ("/v1/models/m:predict", "models/*:predict"),
        ("/v1/projects/p/publishers/x/models/m:predict", "publishers/*/models/*:predict"),
        ("/v1/publishers/anthropic/models/m@1:rawPredict", "publishers/anthropic/models/*:rawPredict"),
        ("/v1/endpoints/7:streamRawPredict", "endpoints/*:streamRawPredict"),
    ],
)
def test_a_path_is_known_by_its_last_segments(path: str, suffix: str) -> None:
    """A prefix, a query and a trailing slash do not matter; the longer suffix wins."""
    api = Apis().of(path)
    assert api is not None
    assert api.suffix == suffix


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1/models",
        "/x/mycompletions",
        "/v1/completions/other",
        "/v1/completionsx",
        "/v1/models?next=/v1/completions",
        "completions",
        "/v1/Completions",
        "/v2/models/infer",
        "/v2/models/a/b/infer",
        "/v2/models/m/infer/x",
        "/v1/x:completions",
        "/v1/endpoints/:predict",
        "/v1/predict",
    ],
)
def test_other_paths_belong_to_no_api(path: str) -> None:
    """Such requests are balanced without being read."""
    assert Apis().of(path) is None


def test_the_first_of_two_that_claim_a_path_has_it() -> None:
    """SGLang's and TGI's are read alike."""
    one, other = (Api("generate", lambda _head, _body: Found()) for _ in range(2))
    assert Apis([Parser("a", (one,)), Parser("b", (other,))]).of("/generate") is one


def test_what_stands_behind_the_one_that_takes_the_rest_is_never_asked() -> None:
    """As upstream has it; without one the rest is refused."""
    assert Apis([OPENAI, PASSTHROUGH, ANTHROPIC]).of("/v1/messages") is None
    assert not Apis([OPENAI, PASSTHROUGH, ANTHROPIC]).reads_all
    assert Apis([OPENAI, ANTHROPIC]).reads_all


def test_parsers_are_those_that_a_configuration_may_name() -> None:
    """Each in both tables, by one type."""
    assert set(PARSERS) == set(registry.PARSERS)
    assert all(kind == each.type for kind, each in PARSERS.items())
