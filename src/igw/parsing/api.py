"""Which API a path belongs to: a table of path suffixes, each with the fields that make its prompt.

Reading the body itself is in `parsing.body`.
"""

from __future__ import annotations

import msgspec


class Api(msgspec.Struct, frozen=True):
    """One inference API over HTTP with a JSON body."""

    suffix: str
    """Last path segments; matched on segment borders, so `/x/mycompletions` is not `completions`."""
    required: str
    """The field without which the request means nothing; missing -> 400."""
    prompt: tuple[str, ...]
    """Fields of the prompt in the order chat templates render them: what rarely changes first."""


# Longest suffix first, so that `chat/completions` wins over `completions`.
APIS = (
    Api("chat/completions", "messages", ("tools", "messages")),
    Api("completions", "prompt", ("prompt",)),
    Api("responses", "input", ("instructions", "tools", "input")),
    Api("embeddings", "input", ("input",)),
    Api("messages", "messages", ("tools", "system", "messages")),
)

_BY_LAST: dict[str, list[Api]] = {}
for _api in APIS:
    _BY_LAST.setdefault(_api.suffix.rpartition("/")[2], []).append(_api)


def api_of(path: str) -> Api | None:
    """Return the API *path* belongs to, or None: such a request is balanced without being read."""
    bare = path.partition("?")[0].rstrip("/")
    for api in _BY_LAST.get(bare.rpartition("/")[2], ()):
        if bare.endswith("/" + api.suffix):
            return api
    return None
