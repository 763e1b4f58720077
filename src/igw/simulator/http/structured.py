"""Answers that must have a form: JSON of a schema, and calls of a function whose arguments have a schema.

The smallest valid value is said, the same for every prompt. What a schema may ask for but is not simulated
is refused; nothing here depends on HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from igw.simulator.http.errors import ApiError

MOST_NESTING = 32
"""Deepest value of a schema that refers to itself."""

Said: TypeAlias = tuple[str | None, str, bool]
"""The text of an answer or None for free words, the function it calls or "", and whether a call was required."""

_WORD = "lorem"
_LONGEST_STRING = 10_000
_MOST_ITEMS = 1_000
_NOT_SIMULATED = {
    "pattern",
    "not",
    "if",
    "patternProperties",
    "contains",
    "multipleOf",
}


def said_by(
    response_format: dict[str, Any] | None,
    structured_outputs: dict[str, Any] | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    tool_choice: str | dict[str, Any] | None = None,
) -> Said:
    """Return what an answer must be; ApiError 400 for a form that is wrong or not simulated.

    With `tool_choice` "auto" the model decides, and decides to say words. "required" calls the first function.
    """
    if isinstance(tool_choice, dict) or tool_choice not in {None, "none", "auto"}:
        name, schema = _chosen(tools or (), tool_choice)
        return smallest(schema), name, tool_choice == "required"
    if structured_outputs:
        return _structured(structured_outputs), "", False
    kind = (response_format or {}).get("type", "text")
    if kind == "text":
        return None, "", False
    if kind == "json_object":
        return "{}", "", False
    if kind == "json_schema":
        named = (response_format or {}).get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if not isinstance(schema, dict):
            message = "response_format of type json_schema needs json_schema.schema."
            raise ApiError(400, message, param="response_format")
        return smallest(schema), "", False
    message = f"response_format type {kind!r} is not simulated: use text, json_object or json_schema."
    raise ApiError(400, message, param="response_format")


def smallest(schema: Any) -> str:
    """Return the JSON, in ASCII, of a small value that is valid under *schema*; ApiError 400 when none is found."""
    return json.dumps(_value(schema, schema, 0), separators=(",", ":"))


def _chosen(tools: Sequence[dict[str, Any]], tool_choice: Any) -> tuple[str, Any]:
    """Return the name of the function to call and the schema of its arguments."""
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    schemas: dict[str, Any] = {
        function["name"]: function.get("parameters") or {"type": "object"}
        for function in functions
        if isinstance(function.get("name"), str)
    }
    if not schemas:
        raise ApiError(400, "When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if tool_choice == "required":
        return next(iter(schemas.items()))
    named = tool_choice.get("function") if isinstance(tool_choice, dict) else None
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str):
        message = "`tool_choice` must be 'none', 'auto', 'required' or name a function."
        raise ApiError(400, message, param="tool_choice")
    if name not in schemas:
        message = f"The tool {name!r} of tool_choice is not among the tools: {', '.join(schemas)}."
        raise ApiError(400, message, param="tool_choice")
    return name, schemas[name]


def _structured(asked: dict[str, Any]) -> str:
    form = asked.get("json")
    if isinstance(form, str):
        try:
            form = json.loads(form)
        except ValueError as error:
            raise ApiError(
                400, f"structured_outputs.json is not JSON: {error}.", param="structured_outputs"
            ) from error
    if isinstance(form, dict):
        return smallest(form)
    if asked.get("json_object"):
        return "{}"
    message = f"structured_outputs {', '.join(sorted(asked))}: only json and json_object are simulated."
    raise ApiError(400, message, param="structured_outputs")


def _value(schema: Any, root: Any, depth: int) -> Any:
    if depth > MOST_NESTING:
        raise _refused(f"nested deeper than {MOST_NESTING}")
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise _refused(f"{schema!r} is not a schema")
    for name in _NOT_SIMULATED & schema.keys():
        raise _refused(f"`{name}` is not simulated")
    for name, value in _INSTEAD_OF_TYPE.items():
        if name in schema:
            return value(schema[name], root, depth + 1)
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = "null" if "null" in kind else kind[0]
    if kind not in _OF_KIND:
        raise _refused(f"type {kind!r} is not known")
    return _OF_KIND[kind](schema, root, depth)


def _smallest_of(schemas: list[Any], root: Any, depth: int) -> Any:
    # The first alternative may refer to the schema itself without end; any that ends will do.
    refusal: ApiError | None = None
    for schema in schemas:
        if isinstance(schema, dict) and schema.get("type") == "null":
            return None
    for schema in schemas:
        try:
            return _value(schema, root, depth)
        except ApiError as error:
            refusal = error
    raise refusal or _refused("an empty union")


def _only_of(schemas: list[Any], root: Any, depth: int) -> Any:
    if len(schemas) != 1:
        raise _refused("`allOf` of several schemas is not simulated")
    return _value(schemas[0], root, depth)


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    return {name: _value(properties.get(name, {}), root, depth + 1) for name in required}


def _array(schema: dict[str, Any], root: Any, depth: int) -> list[Any]:
    given = [_value(each, root, depth + 1) for each in schema.get("prefixItems", [])]
    count = schema.get("minItems", 0) - len(given)
    if count > 1 and schema.get("uniqueItems"):
        raise _refused("different items")
    if count > _MOST_ITEMS:
        raise _refused(f"{count} items")
    return given + [_value(schema.get("items", {}), root, depth + 1) for _ in range(count)]


def _string(schema: dict[str, Any], _root: Any, _depth: int) -> str:
    if form := schema.get("format"):
        if form not in _FORMATS:
            raise _refused(f"the format {form!r} is not simulated")
        return _FORMATS[form]
    shortest, longest = int(schema.get("minLength", 0)), int(schema.get("maxLength", len(_WORD)))
    if shortest > _LONGEST_STRING:
        raise _refused(f"a string of {shortest} characters")
    return (_WORD * (shortest // len(_WORD) + 1))[: max(shortest, min(longest, len(_WORD)))]


def _number(schema: dict[str, Any], _root: Any, _depth: int) -> Any:
    """Return the number next to zero that is within the bounds, a whole one unless the bounds are not."""
    lowest = [schema["minimum"]] if "minimum" in schema else []
    lowest += [schema["exclusiveMinimum"] + 1] if "exclusiveMinimum" in schema else []
    highest = [schema["maximum"]] if "maximum" in schema else []
    highest += [schema["exclusiveMaximum"] - 1] if "exclusiveMaximum" in schema else []
    value = min([max([0, *lowest]), *highest])
    if lowest and value < max(lowest):
        raise _refused(f"a number from {max(lowest)} to {min(highest)}")
    return value


_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}
_OF_KIND: dict[str, Callable[[dict[str, Any], Any, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: False,
    "null": lambda *_: None,
}
_INSTEAD_OF_TYPE: dict[str, Callable[[Any, Any, int], Any]] = {
    "$ref": lambda reference, root, depth: _value(_referred(reference, root), root, depth),
    "const": lambda value, _root, _depth: value,
    "enum": lambda values, _root, _depth: values[0],
    "allOf": _only_of,
    "anyOf": _smallest_of,
    "oneOf": _smallest_of,
}


def _referred(reference: Any, root: Any) -> Any:
    found = root
    for name in str(reference).removeprefix("#").split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    if found is None or not str(reference).startswith("#"):
        raise _refused(f"the reference {reference!r} leads nowhere")
    return found


def _refused(problem: str) -> ApiError:
    return ApiError(400, f"The JSON schema asks for something that cannot be answered here: {problem}.")
