"""Command-line options made of the fields of a settings struct: a field that is added is a flag by itself.

What a command does with the values belongs to the command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
import yaml
from msgspec import inspect as types

from igw.cli.groups import declare
from igw.errors import ConfigError

_SCALARS: dict[type, Any] = {types.IntType: int, types.FloatType: float, types.BoolType: bool}


class Dial(msgspec.Struct, frozen=True):
    """One field as an option.

    `path` leads to it from the struct's outside by YAML names; `type` is msgspec's, without `None`.
    """

    path: tuple[str, ...]
    parameter: str
    flags: tuple[str, ...]
    panel: str
    text: str
    default: str
    type: types.Type

    def option(self) -> inspect.Parameter:
        """Return the parameter typer makes the option of; None stands for a flag that was not given."""
        kind, extra = _python_type(self.type)
        declared = typer.Option(
            *self.flags,
            help=self.text,
            rich_help_panel=self.panel,
            show_default=self.default or False,
            **extra,
        )
        annotation = Annotated[kind | None, declared]  # type: ignore[valid-type]
        return inspect.Parameter(
            self.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )


def dials(struct: type[msgspec.Struct]) -> list[Dial]:
    """Return an option per field of *struct*, the fields of structs inside it taking their place."""
    kind = types.type_info(struct)
    if not isinstance(kind, types.StructType):
        raise TypeError(f"{struct} is not a struct")
    return list(_walk(kind, ()))


def with_options(options: list[Dial]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command whose last parameter takes any keywords one parameter per option instead of it."""

    def extend(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = list(signature.parameters.values())[:-1]
        return declare(command, own + [option.option() for option in options])

    return extend


def given(options: list[Dial], values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields whose flags were given, nested as in a file; ConfigError names a flag that cannot be read."""
    fields: dict[str, Any] = {}
    for option in options:
        if values.get(option.parameter) is None:
            continue
        inner = fields
        for name in option.path[:-1]:
            inner = inner.setdefault(name, {})
        inner[option.path[-1]] = _value(option, values[option.parameter])
    return fields


def _walk(struct: types.StructType, outside: tuple[str, ...]) -> Iterator[Dial]:
    for field in struct.fields:
        kind, text, extra = _plain(field.type)
        if isinstance(kind, types.StructType) and field.default is not None:
            yield from _walk(kind, (*outside, field.encode_name))
            continue
        flag = field.name.replace("_", "-")
        flags = [f"--{flag}/--no-{flag}" if isinstance(kind, types.BoolType) else f"--{flag}"]
        yield Dial(
            path=(*outside, field.encode_name),
            parameter=field.name,
            flags=(*flags, *extra.get("flags", ())),
            panel=extra.get("panel", "Other"),
            text=text,
            default=_default(field),
            type=kind,
        )


def _plain(kind: types.Type) -> tuple[types.Type, str, dict[str, Any]]:
    """Return a field's type without `None` and without its description, and the description."""
    text, extra = "", {}
    if isinstance(kind, types.Metadata):
        text = (kind.extra_json_schema or {}).get("description", "")
        extra = kind.extra or {}
        kind = kind.type
    if isinstance(kind, types.UnionType):
        [kind] = [each for each in kind.types if not isinstance(each, types.NoneType)]
    return kind, text, extra


def _default(field: types.Field) -> str:
    if field.default is msgspec.NODEFAULT or field.default is None:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _python_type(kind: types.Type) -> tuple[Any, dict[str, Any]]:
    if isinstance(kind, types.LiteralType):
        return Literal[tuple(kind.values)], {}
    if isinstance(kind, types.DictType):
        return list[str], {"metavar": "KEY=VALUE"}
    if isinstance(kind, types.ListType):
        if isinstance(kind.item_type, types.StructType):
            pair = "=".join(_pair_names(kind.item_type)).upper()
            return list[str], {"metavar": f"{pair}|JSON|FILE" if pair else "JSON|FILE"}
        return list[str], {}
    if isinstance(kind, types.StructType):
        return str, {"metavar": "JSON|FILE"}
    return _SCALARS.get(type(kind), str), {}


def _value(option: Dial, value: Any) -> Any:
    kind, flag = option.type, option.flags[0]
    if isinstance(kind, types.DictType):
        return dict(_pair(flag, each) for each in value)
    if isinstance(kind, types.ListType) and isinstance(kind.item_type, types.StructType):
        names = _pair_names(kind.item_type)
        items: list[Any] = []
        for each in value:
            found = _document(flag, each)
            if isinstance(found, str) and not names:
                raise ConfigError(flag, f"{found!r} is neither JSON nor a file")
            if isinstance(found, str):
                found = dict(zip(names, _pair(flag, found), strict=True))
            items += found if isinstance(found, list) else [found]
        return items
    return _document(flag, value) if isinstance(kind, types.StructType) else value


def _pair_names(struct: types.StructType) -> list[str]:
    """Return the first two fields when an item is mostly given by them, as in name=path: both required; else none."""
    first = struct.fields[:2]
    return [field.encode_name for field in first] if all(field.required for field in first) else []


def _pair(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(flag, f"{text!r} is not of the form key=value")
    return key, value


def _document(flag: str, text: str) -> Any:
    """Return what JSON or a file holds, or *text* itself when it is neither."""
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ConfigError(flag, f"not JSON: {error}") from error
    if not (path := Path(text)).is_file():
        return text
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag} {text}", f"not YAML: {error}") from error
