"""A model's chat template -> the text of a conversation, rendered as `transformers` does. Which messages it is given is in `conversations`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class ChatTemplate:
    """One template, compiled; `render` may be called from any thread.

    Raises:
        ValueError: it is no template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = _environment()
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"its chat template cannot be used: {error}") from error
        self._special_tokens = dict(special_tokens)
        self.takes_parts = _loops_over_content(environment.parse(source))
        """Whether it wants the content of a message as a list of parts, even if that is one text; else as one text (vLLM's "auto")."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of a conversation; *more* is what a request says to the template itself (`chat_template_kwargs`).

        Raises:
            ValueError: the template does not take such a conversation.
        """
        given = {
            **self._special_tokens,
            "messages": messages,
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            **(more or {}),
        }
        try:
            return self._template.render(given)
        # A template is a program: what it trips over is the conversation's fault.
        except (TemplateError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"the chat template refused it: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks what the model said, for those who train it; here it is only what it encloses."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the enclosed statements, in a scope of their own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    """Local time, as the engine takes it: where the two differ, so do prompts with a date."""
    return datetime.now().astimezone().strftime(form)


def _loops_over_content(template: nodes.Template) -> bool:
    """Return whether there is a loop over the content of a message."""
    conversations = {"messages"}
    for assign in template.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and any(_is(assign.node, name) for name in conversations):
            conversations.add(assign.target.name)
    loops = list(template.find_all(nodes.For))
    messages = {
        loop.target.name
        for loop in loops
        if isinstance(loop.target, nodes.Name) and any(_is(loop.iter, name) for name in conversations)
    }
    return any(
        _is(loop.iter, "content") or any(_is(loop.iter, name, "content") for name in messages)
        for loop in loops
    )


def _is(node: nodes.Node, variable: str, key: str = "") -> bool:
    """Return whether *node* is that variable, or its *key*, whatever filters, tests and slices are put around."""
    for inner in _unwrapped(node):
        node = inner
    if key and isinstance(node, nodes.Getitem):
        return _is(node.node, variable) and isinstance(node.arg, nodes.Const) and node.arg.value == key
    if key and isinstance(node, nodes.Getattr):
        return _is(node.node, variable) and node.attr == key
    return not key and isinstance(node, nodes.Name) and node.name == variable


def _unwrapped(node: nodes.Node | None) -> Iterator[nodes.Node]:
    while isinstance(node, nodes.Filter | nodes.Test) or (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
    ):
        node = node.node
        if node is not None:
            yield node
