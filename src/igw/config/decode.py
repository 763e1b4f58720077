"""A document -> a Struct, strictly, and what went wrong in words an operator can act on.

The shapes themselves are in `igw.config.gateway_api` and `igw.config.inference`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from igw.config.documents import Document
from igw.errors import ConfigError

T = TypeVar("T")

_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")

NOT_YET = frozenset(
    {
        "tls",
        "frontendTLS",
        "backendTLS",
        "addresses",
        "infrastructure",
        "allowedListeners",
        "defaultScope",
        "requestMirror",
        "requestRedirect",
        "urlRewrite",
        "cors",
        "externalAuth",
        "extensionRef",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExternalAuth",
        "ExtensionRef",
        "HTTPS",
        "TLS",
        "TCP",
        "UDP",
        "retry",
        "sessionPersistence",
        "Selector",
        "useDefaultGateways",
        "matchExpressions",
    }
)
"""Fields and values of the Gateway API that exist but would change what happens, so they may not be passed over."""


def decode(document: Document, shape: type[T]) -> T:
    """Return *document* as *shape*, or raise a `ConfigError` with path, value and nearest known name."""
    try:
        return msgspec.convert(document.body, shape)
    except msgspec.ValidationError as error:
        raise _explain(document, shape, str(error)) from None


def without_unknown(document: Document, shape: type[Any]) -> tuple[Document, tuple[str, ...]]:
    """Return *document* without the fields that *shape* does not have, and where they were.

    For objects that an API server has checked by a newer definition than ours. Fields that must not be passed over stay.
    """
    dropped: list[str] = []
    body = _known(document.body, msgspec.inspect.type_info(shape), "$", dropped)
    return msgspec.structs.replace(document, body=body) if dropped else document, tuple(dropped)


def _known(value: Any, kind: Any, path: str, dropped: list[str]) -> Any:
    kind = _plain(kind)
    if isinstance(value, list):
        item = getattr(kind, "item_type", None)
        return [_known(each, item, f"{path}[{index}]", dropped) for index, each in enumerate(value)]
    if not isinstance(value, dict) or not isinstance(kind, msgspec.inspect.StructType):
        return value
    fields = {field.encode_name: field.type for field in kind.fields}
    dropped += [f"{path}.{name}" for name in value if name not in fields and name not in NOT_YET]
    return {
        name: _known(each, fields.get(name), f"{path}.{name}", dropped)
        for name, each in value.items()
        if name in fields or name in NOT_YET
    }


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name most like *name*, else all of them."""
    names = sorted(known)
    lowered = {known_name.lower(): known_name for known_name in names}
    match = difflib.get_close_matches(name.lower(), lowered, 1)
    return f"did you mean {lowered[match[0]]}?" if match else "known: " + ", ".join(names)


def _explain(document: Document, shape: Any, message: str) -> ConfigError:
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"] or "$") if match else (message, "$")
    value, written = _walk(document.body, msgspec.inspect.type_info(shape), path)
    kind, where = _plain(written), f"{document.source} {path}"
    if unknown := _UNKNOWN.match(problem):
        return _unknown_field(where, unknown["name"], kind)
    if problem.startswith("Invalid enum value"):
        return _unknown_value(where, str(value), kind)
    if problem.startswith("Object missing required field"):
        problem = problem.replace("Object missing required field", "the required field") + " is missing"
        return ConfigError(where, problem)
    if "matching regex" in problem:
        return ConfigError(where, f"{_description(written)} is expected, found {_short(value)}")
    return ConfigError(where, f"{problem[0].lower()}{problem[1:]}, found {_short(value)}")


def _unknown_field(where: str, name: str, kind: Any) -> ConfigError:
    if name in NOT_YET:
        return ConfigError(f"{where}.{name}", f"`{name}` is not supported in file mode yet")
    fields = kind.fields if isinstance(kind, msgspec.inspect.StructType) else ()
    return ConfigError(where, f"there is no field `{name}`", nearest(name, [f.encode_name for f in fields]))


def _unknown_value(where: str, value: str, kind: Any) -> ConfigError:
    if value in NOT_YET:
        return ConfigError(where, f"`{value}` is not supported in file mode yet")
    known = map(str, kind.values) if isinstance(kind, msgspec.inspect.LiteralType) else ()
    return ConfigError(where, f"`{value}` is not allowed here", nearest(value, known))


def _walk(value: Any, kind: Any, path: str) -> tuple[Any, Any]:
    """Follow *path* through the written value and the expected type side by side."""
    for step in _STEP.finditer(path):
        kind = _plain(kind)
        if step["field"] is not None:
            value = value.get(step["field"]) if isinstance(value, dict) else None
            fields = kind.fields if isinstance(kind, msgspec.inspect.StructType) else ()
            kind = next((f.type for f in fields if f.encode_name == step["field"]), None)
        elif step["index"] is not None:
            index = int(step["index"])
            value = value[index] if isinstance(value, list) and index < len(value) else None
            kind = getattr(kind, "item_type", None)
        else:  # msgspec does not say which entry of a mapping it was
            return value, getattr(kind, "value_type", None)
    return value, kind


def _plain(kind: Any) -> Any:
    """Return *kind* without `| None` and annotations."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        known = [t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType)]
        return _plain(known[0]) if len(known) == 1 else kind
    return kind


def _description(kind: Any) -> str:
    """Return what the shape's author says a value is, instead of its regular expression."""
    options = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    schemas = [t.extra_json_schema or {} for t in options if isinstance(t, msgspec.inspect.Metadata)]
    return next((schema["description"] for schema in schemas if "description" in schema), "another form")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
