"""The table of formats and generators, and how a name or a file becomes a workload.

Each format and generator is a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec

from igw.errors import ConfigError
from igw.lab.traces.agent_sessions import AgentSessions
from igw.lab.traces.api import Generator, Reader
from igw.lab.traces.arena import Arena
from igw.lab.traces.azure import Azure
from igw.lab.traces.claude_code import ClaudeCode
from igw.lab.traces.lines import Lines
from igw.lab.traces.mooncake import Mooncake
from igw.lab.traces.servegen import ServeGen
from igw.lab.traces.shared_prefix import SharedPrefix
from igw.lab.traces.synthetic import Synthetic
from igw.lab.workload import Session, Workload

FORMATS: dict[str, type[Reader]] = {
    "mooncake": Mooncake,
    "azure": Azure,
    "claude-code": ClaudeCode,
    "agent-sessions": AgentSessions,
    "servegen": ServeGen,
    "arena": Arena,
}

GENERATORS: dict[str, type[Generator]] = {"shared-prefix": SharedPrefix, "synthetic": Synthetic}

T = TypeVar("T")

_NOTHING: Mapping[str, object] = {}


def workload(source: str | Path, format_name: str = "", options: Mapping[str, object] = _NOTHING) -> Workload:
    """Return what a trace file, or the generator of that name, asks for.

    Without *format_name* a file's format is recognised by its first line. *options* are fields of the reader or generator; texts are
    read as numbers where numbers are needed. ConfigError for what cannot be used.
    """
    reader, made = _opened(source, format_name, options)
    sessions = tuple(made)
    if not sessions:
        raise ConfigError(str(source), "there are no requests in it")
    name = _plain_name(Path(source)) if str(source) not in GENERATORS else str(source)
    return Workload(name, reader.block_tokens, sessions, getattr(reader, "quantum_seconds", 0.0))


def stream(
    source: str | Path, format_name: str = "", options: Mapping[str, object] = _NOTHING
) -> Iterator[Session]:
    """Return the sessions of `workload` one by one, as they are read."""
    return _opened(source, format_name, options)[1]


def detect(path: Path) -> str:
    """Return the name of the format of *path*; ConfigError for a file of none, listing them."""
    return _detect(Lines(path))


def _opened(
    source: str | Path, format_name: str, options: Mapping[str, object]
) -> tuple[Reader | Generator, Iterator[Session]]:
    if str(source) in GENERATORS:
        if format_name:
            raise ConfigError(f"trace {source}", f"is made by a generator and has no format {format_name!r}")
        generator = _built(GENERATORS[str(source)], str(source), options)
        return generator, generator.sessions()
    path = Path(source)
    if not path.is_file():
        known = ", ".join(GENERATORS)
        raise ConfigError(f"trace {source}", "there is no such file", f"generators that need none: {known}")
    lines = Lines(path)
    format_name = format_name or _detect(lines)
    if format_name not in FORMATS:
        raise ConfigError(f"trace format {format_name!r}", "is not known", _nearest(format_name, FORMATS))
    reader = _built(FORMATS[format_name], format_name, options)
    return reader, reader.sessions(lines)


def _detect(lines: Lines) -> str:
    for name, reader in FORMATS.items():
        if reader.recognises(lines.first):
            return name
    raise ConfigError(
        f"{lines.path}, line {lines.number}",
        "begins like no known format",
        f"known are {', '.join(FORMATS)}; name one if the file is of it",
    )


def _built(kind: type[T], name: str, options: Mapping[str, object]) -> T:
    fields: list[str] = list(getattr(kind, "__struct_fields__", ()))
    for option in options:
        if option not in fields:
            known = _nearest(option, fields) if fields else "it has none"
            raise ConfigError(f"option {option!r} of {name}", "is not known", known)
    try:
        return msgspec.convert(dict(options), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"options of {name}", str(error)) from error


def _nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _plain_name(path: Path) -> str:
    return path.name.split(".")[0]
