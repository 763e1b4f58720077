"""Flags in groups: a struct whose fields are flags, which several commands may have. What a group says is the command's business."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, get_type_hints

import msgspec
from typer import BadParameter
from typer.core import TyperCommand, TyperOption
from typer.models import OptionInfo

_TRUTHS = {**dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}


class Group(msgspec.Struct, frozen=True):
    """Flags that belong together: each field is one, `Annotated` with its `typer.Option`. The docstring heads them in `--help`."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the parameters of which typer makes the flags."""
        hints, panel = get_type_hints(cls, include_extras=True), inspect.cleandoc(cls.__doc__ or "")
        found = []
        for name, default in zip(cls.__struct_fields__, cls.__struct_defaults__, strict=True):
            option = copy.copy(_option(hints[name]))
            option.rich_help_panel = panel.partition("\n")[0].rstrip(".")
            hint = hints[name].copy_with([hints[name].__origin__])
            hint.__metadata__ = (option,)
            found.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            )
        return found

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what was said, of the *values* of all flags of a command."""
        return cls(**{name: values[name] for name in cls.__struct_fields__})


def _option(hint: Any) -> OptionInfo:
    found: OptionInfo = next(each for each in hint.__metadata__ if isinstance(each, OptionInfo))
    return found


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command*, each of whose parameters is a group, one parameter per flag of theirs instead."""
    groups = {name: kind for name, kind in get_type_hints(command).items() if name != "return"}

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        command(**{name: kind.of(values) for name, kind in groups.items()})

    return declare(flat, [each for kind in groups.values() for each in kind.parameters()])


def declare(command: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """Have typer believe that these are the *parameters* of *command*; it reads both places, and prefers the hints where it finds the name."""
    listed = list(parameters)
    command.__signature__ = inspect.signature(command).replace(parameters=listed)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in listed}
    return command


class Command(TyperCommand):
    """A command whose switches may be written as Go's are too: `--secure-serving=false`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write switches with a value as switches without one."""
        switches = {
            name: each
            for each in self.params
            if isinstance(each, TyperOption) and each.is_flag
            for name in each.opts
        }
        ends = args.index("--") if "--" in args else len(args)
        known = [written for arg in args[:ends] for written in _plain(arg, switches)]
        return super().parse_args(ctx, known + args[ends:])


def _plain(arg: str, switches: Mapping[str, TyperOption]) -> list[str]:
    name, equals, value = arg.partition("=")
    if not equals or name not in switches:
        return [arg]
    truth = _TRUTHS.get(value.lower())
    if truth is None:
        raise BadParameter(f"`{value}` is neither true nor false", param=switches[name])
    return [name] if truth else list(switches[name].secondary_opts[:1])
