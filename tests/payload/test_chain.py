"""Plugins one after the other: who wins, who sees what, what a client cannot say."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from igw.config.adapters import AdapterMap
from igw.errors import BadRequest
from igw.payload.api import Changes, Message, Plugin, Refusal
from igw.payload.builtin import DEFAULT
from igw.payload.chain import Chain, base_models
from igw.request import Head

HEAD = Head("/v1/chat/completions", "POST", {"content-type": "application/json"})


class Step(msgspec.Struct, frozen=True):
    """Says what it is told to say."""

    changes: Changes
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def process(self, _message: Message, /) -> Changes:
        return self.changes


class Echo(msgspec.Struct, frozen=True):
    """Writes what it sees of a header and a field into headers."""

    reads: tuple[str, ...] = ("f",)
    writes: tuple[str, ...] = ("seen-header", "seen-field")

    def process(self, message: Message, /) -> Changes:
        return Changes(headers={"seen-header": message.headers.get("h"), "seen-field": message.text("f")})


def run(*plugins: Plugin, body: bytes = b'{"model":"m"}', bases: Mapping[str, str] | None = None) -> Changes:
    """Return what the chain of *plugins* changes."""
    return Chain(plugins).run(HEAD, body, bases or {})


def sets(**headers: str | None) -> Step:
    """Return a step that sets (or removes) headers."""
    return Step(Changes(headers=headers))


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (("a", None), None),
        ((None, "a"), "a"),
        (("a", "b"), "b"),
        (("a", "a"), "a"),
    ],
)
def test_the_last_writer_wins(steps: tuple[str | None, ...], outcome: str | None) -> None:
    """Set then removed is removed; removed then set is set."""
    assert run(*(sets(h=value) for value in steps)).headers == {"h": outcome}


def test_a_step_sees_what_those_before_it_wrote() -> None:
    """Headers and fields, removed ones included."""
    wrote = Step(Changes(headers={"h": "1"}, fields={"f": b'"new"'}))
    assert run(wrote, Echo(), body=b'{"f":"old"}').headers == {
        "h": "1", "seen-header": "1", "seen-field": "new",
    }  # fmt: skip
    removed = Step(Changes(fields={"f": None}))
    assert run(removed, Echo(), body=b'{"f":"old"}').headers["seen-field"] is None
    assert run(wrote, removed).fields == {"f": None}


def test_headers_that_only_a_plugin_may_set_are_removed_where_it_does_not() -> None:
    """A client's own value never stays."""
    owner = Step(Changes(), writes=("mine",))
    assert run(owner).headers == {"mine": None}
    assert Chain([owner]).unsaid == {"mine": None}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("BadRequest", 400), ("Unauthorized", 401), ("Forbidden", 403), ("NotFound", 404),
        ("ResourceExhausted", 429), ("Internal", 500), ("ServiceUnavailable", 503),
    ],
)  # fmt: skip
def test_a_refusal_ends_the_chain_with_its_status(code: str, status: int) -> None:
    """Upstream's codes."""

    class Guard(msgspec.Struct, frozen=True):
        reads: tuple[str, ...] = ()
        writes: tuple[str, ...] = ()

        def process(self, _message: Message, /) -> Changes:
            raise Refusal(code, "no")

    with pytest.raises(Refusal) as refused:
        run(Guard(), sets(h="1"))
    assert (refused.value.status, refused.value.code, refused.value.message) == (status, code, "no")


MAPS = (
    AdapterMap("llama", ("food", "travel"), "a.yaml"),
    AdapterMap("qwen", (), "b.yaml"),
    AdapterMap("llama", ("law",), "c.yaml"),
)


def test_a_base_model_stands_for_itself_and_several_maps_add_up() -> None:
    """The same base model may be in several maps."""
    assert base_models(MAPS) == {
        "llama": "llama", "qwen": "qwen", "food": "llama", "travel": "llama", "law": "llama",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "model", "base"),
    [
        (b'{"model":"llama"}', "llama", "llama"),
        (b'{"model":" law "}', "law", "llama"),
        (b'{"model":"other"}', "other", None),
        (b'{"model":7}', "7", None),
        (b'{"model":true}', "true", None),
        (b'{"model":{"a": 1}}', '{"a": 1}', None),
        (b'{"model":null}', None, None),
        (b'{"model":""}', None, None),
        (b'{"model":"  "}', None, None),
        (b"{}", None, None),
        ('{"model":"Käse"}'.encode(), "Käse", None),
    ],
)
def test_the_default_chain_says_model_and_base_model(
    body: bytes, model: str | None, base: str | None
) -> None:
    """What is not known is absent, never empty: an empty header would match a route that wants it present."""
    changes = run(*(named.plugin for named in DEFAULT), body=body, bases=base_models(MAPS))
    assert changes.headers == {"x-gateway-model-name": model, "x-gateway-base-model-name": base}
    assert not changes.fields


def test_fields_that_are_missing_or_empty_are_told() -> None:
    """They are counted."""
    chain = [named.plugin for named in DEFAULT]
    assert run(*chain, body=b"{}").not_found == ("model", "model")
    assert run(*chain, body=b'{"model":""}').empty == ("model",)


@pytest.mark.parametrize(
    "model", ['"a\\nb"', '"a\\u0000"', '"' + "x" * 5000 + '"', '"\\ud800"', '"\xff"', '{"a":\n1}']
)
def test_a_model_that_no_header_can_carry_is_refused(model: str) -> None:
    """Envoy would break the request off without a word."""
    with pytest.raises(BadRequest):
        run(*(named.plugin for named in DEFAULT), body=b'{"model":' + model.encode("latin-1") + b"}")
