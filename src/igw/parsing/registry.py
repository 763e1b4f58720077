"""Which parsers are in force, and which API a path belongs to: the longest of their suffixes, on segment borders."""

from __future__ import annotations

import re
from collections.abc import Iterable

from igw.parsing.answers import AnswerReader, JsonAnswer
from igw.parsing.anthropic import ANTHROPIC
from igw.parsing.api import Api, Parser, Shape
from igw.parsing.generate import SGLANG_HTTP, TGI
from igw.parsing.kserve import KSERVE
from igw.parsing.limits import Limits
from igw.parsing.openai import OPENAI
from igw.parsing.vertex import VERTEX_REST_APIS
from igw.parsing.vertex_grpc import VERTEX_GRPC
from igw.parsing.vllm import VLLM_HTTP
from igw.parsing.vllm_grpc import VLLM_GRPC

PASSTHROUGH = Parser("passthrough-parser", ())
"""Balances what no other parser claims, without reading it."""

VERTEX = Parser(VERTEX_GRPC.type, (*VERTEX_GRPC.apis, *VERTEX_REST_APIS))

PARSERS: dict[str, Parser] = {
    each.type: each
    for each in (OPENAI, ANTHROPIC, VLLM_HTTP, VLLM_GRPC, SGLANG_HTTP, TGI, VERTEX, KSERVE, PASSTHROUGH)
}
"""Every parser by its type (upstream's names where it has them). All of them are in force unless a configuration says which."""

_ANSWERS = {api.suffix: api.answer for each in reversed(PARSERS.values()) for api in each.apis}

_SHAPES = {api.suffix: api.errors for each in reversed(PARSERS.values()) for api in each.apis}


def error_shape(api: str) -> Shape:
    """Return how clients of *api* (`Request.api`) read errors; OpenAI's way where we do not know it."""
    return _SHAPES.get(api, "openai")


def answer_reader(api: str) -> AnswerReader:
    """Return what reads an answer of *api* (`Request.api`); answers of APIs we do not know are read as OpenAI's."""
    return _ANSWERS.get(api, JsonAnswer)()


class Apis:
    """The APIs of some parsers, by path: the longest suffix has it, and of two parsers that claim the same one the first.

    As upstream has it, a parser without suffixes takes the rest and ends the list, and without one the rest is refused.
    """

    def __init__(
        self,
        parsers: Iterable[Parser] = tuple(PARSERS.values()),
        limits: Limits = Limits(),  # noqa: B008 (immutable)
    ) -> None:
        self.limits = limits
        self.reads_all = True
        """Whether a path that no API claims is an error: no passthrough among the parsers."""
        claimed: dict[str, Api] = {}
        for parser in parsers:
            if not parser.apis:
                self.reads_all = False
                break
            for api in parser.apis:
                claimed.setdefault(api.suffix, api)
        self._by_last: dict[str, list[tuple[Api, str, re.Pattern[str] | None]]] = {}
        # Longest suffix first, so that `chat/completions` wins over `completions`.
        for api in sorted(
            claimed.values(), key=lambda each: (-each.suffix.count("/"), each.suffix.count("*"))
        ):
            pattern = re.escape("/" + api.suffix).replace(r"\*", "[^/]+") + "$" if "*" in api.suffix else ""
            entry = (api, "/" + api.suffix, re.compile(pattern) if pattern else None)
            # By the last segment, or what is behind the colon in it.
            self._by_last.setdefault(re.split("[/:]", api.suffix)[-1], []).append(entry)

    def of(self, path: str) -> Api | None:
        """Return the API that *path* belongs to, or None."""
        bare = path.partition("?")[0].rstrip("/")
        for api, suffix, pattern in self._by_last.get(bare.rpartition("/")[2].rpartition(":")[2], ()):
            if bare.endswith(suffix) if pattern is None else pattern.search(bare):
                return api
        return None
