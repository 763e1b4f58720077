"""Answers of a given form: valid under their schema, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igw.simulator.http.errors import ApiError
from igw.simulator.http.structured import said_by, smallest

TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "wait"}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"type": "string"}, "lorem"),
        ({"type": "string", "minLength": 7}, "loremlo"),
        ({"type": "string", "maxLength": 2}, "lo"),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "number", "minimum": -5, "maximum": 5}, 0),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, None),
        ({"enum": ["red", "blue"]}, "red"),
        ({"const": {"x": 1}}, {"x": 1}),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True}, []),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}, ["lorem", 0]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"oneOf": [{"type": "string", "pattern": "x"}, {"type": "integer"}]}, 0),
        ({"allOf": [{"type": "integer"}]}, 0),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, 0),
        ({"type": "string", "const": "é"}, "é"),
        (True, {}),
    ],
)
def test_the_smallest_value_of_a_schema(schema: Any, value: Any) -> None:
    """Written in ASCII, so that a token is four characters."""
    text = smallest(schema)
    assert json.loads(text) == value
    assert text.isascii()


def test_a_schema_that_refers_to_itself_ends_where_it_can() -> None:
    """As a list of nodes without any, or with null instead of another node."""
    tree = {"type": "object", "required": ["next"], "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}  # fmt: skip
    assert json.loads(smallest(tree)) == {"next": None}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "a+"}, "`pattern`"),
        ({"type": "string", "format": "hostname"}, "the format 'hostname'"),
        ({"type": "widget"}, "type 'widget' is not known"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "a number from 5 to 3"),
        ({"type": "array", "minItems": 10**9}, "items"),
        ({"type": "string", "minLength": 10**9}, "characters"),
        ({"type": "array", "minItems": 2, "uniqueItems": True}, "different items"),
        ({"allOf": [{}, {}]}, "`allOf`"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"$ref": "#"}, "nested deeper"),
        ({"type": "object", "required": ["x"], "properties": {"x": False}}, "False is not a schema"),
    ],
)
def test_what_cannot_be_answered_is_refused(schema: Any, words: str) -> None:
    """Instead of being answered wrongly."""
    with pytest.raises(ApiError) as caught:
        smallest(schema)
    assert caught.value.status == 400
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None,), (None, "", False)),
        (({"type": "text"},), (None, "", False)),
        (({"type": "json_object"},), ("{}", "", False)),
        (({"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}},), ("0", "", False)),
        ((None, {"json": {"type": "integer"}}), ("0", "", False)),
        ((None, {"json": '{"type": "integer"}'}), ("0", "", False)),
        ((None, {"json_object": True}), ("{}", "", False)),
        ((None, None, TOOLS), (None, "", False)),
        ((None, None, TOOLS, "auto"), (None, "", False)),
        ((None, None, TOOLS, "required"), ('{"at":"lorem"}', "look", True)),
        (
            (None, None, TOOLS, {"type": "function", "function": {"name": "wait"}}),
            ("{}", "wait", False),
        ),
    ],
)
def test_what_is_said_follows_from_the_request(arguments: Any, said: Any) -> None:
    """A function's arguments, JSON, or free words."""
    assert said_by(*arguments) == said


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        (({"type": "json_schema"},), "response_format"),
        (({"type": "structural_tag"},), "response_format"),
        ((None, {"regex": "a+"}), "structured_outputs"),
        ((None, {"json": "{"}), "structured_outputs"),
        ((None, None, None, "required"), "tool_choice"),
        ((None, None, TOOLS, "often"), "tool_choice"),
        ((None, None, TOOLS, {"function": {"name": "run"}}), "tool_choice"),
        ((None, None, TOOLS, {"function": {}}), "tool_choice"),
    ],
)
def test_a_form_that_is_wrong_is_refused(arguments: Any, param: str) -> None:
    """With the field named."""
    with pytest.raises(ApiError) as caught:
        said_by(*arguments)
    assert (caught.value.status, caught.value.param) == (400, param)
