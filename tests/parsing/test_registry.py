"""Paths -> APIs: whole segments only, whatever stands before and behind them."""

from __future__ import annotations

import pytest

from igw.parsing.registry import Apis


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
        "/v1/completions/render",
        "/v1/completionsx",
        "/v1/models?next=/v1/completions",
        "completions",
        "/v1/Completions",
    ],
)
def test_other_paths_belong_to_no_api(path: str) -> None:
    """Such requests are balanced without being read."""
    assert Apis().of(path) is None
