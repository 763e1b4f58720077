"""Which parsers are in force, and which API a path belongs to: the longest of their suffixes, on segment borders."""

from __future__ import annotations

from collections.abc import Iterable

from igw.parsing.anthropic import ANTHROPIC
from igw.parsing.api import Api, Parser
from igw.parsing.openai import OPENAI

PASSTHROUGH = Parser("passthrough-parser", ())
"""Balances what no other parser claims, without reading it."""

PARSERS: dict[str, Parser] = {each.type: each for each in (OPENAI, ANTHROPIC, PASSTHROUGH)}
"""Every parser by its type (upstream's names where it has them)."""


class Apis:
    """The APIs of some parsers, by path. Of two that claim the same suffix the first one has it."""

    def __init__(self, parsers: Iterable[Parser] = tuple(PARSERS.values())) -> None:
        self._by_last: dict[str, list[Api]] = {}
        self.reads_all = True
        """Whether a path that no API claims is an error: no passthrough among the parsers."""
        claimed: dict[str, Api] = {}
        for parser in parsers:
            self.reads_all = self.reads_all and bool(parser.apis)
            for api in parser.apis:
                claimed.setdefault(api.suffix, api)
        # Longest suffix first, so that `chat/completions` wins over `completions`.
        for api in sorted(claimed.values(), key=lambda each: -each.suffix.count("/")):
            self._by_last.setdefault(api.suffix.rpartition("/")[2], []).append(api)

    def of(self, path: str) -> Api | None:
        """Return the API that *path* belongs to, or None."""
        bare = path.partition("?")[0].rstrip("/")
        for api in self._by_last.get(bare.rpartition("/")[2], ()):
            if bare.endswith("/" + api.suffix):
                return api
        return None
