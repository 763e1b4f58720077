"""Files and directories -> documents: plain mappings, each knowing where it was written.

What a document means is not known here; see `igw.config.manifests`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from igw.errors import ConfigError

SUFFIXES = (".yaml", ".yml", ".json")
"""The files of a directory that are read."""


class Document(msgspec.Struct, frozen=True):
    """One object of a file, not yet decoded. *source* is what an error message says of its place."""

    source: str
    api_version: str
    kind: str
    name: str
    namespace: str
    body: dict[str, Any]

    @property
    def key(self) -> str:
        """`Kind namespace/name`, unique in a set of manifests."""
        return f"{self.kind} {self.namespace}/{self.name}"


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """The safe loader, but a key that is written twice is an error instead of the last one winning."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` is written twice", key.start_mark
                )
            seen.add(key.value)
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(paths: Sequence[Path]) -> Iterator[Document]:
    """Yield every document of *paths*, in order; a file that is named twice is read once.

    A directory stands for its `*.yaml`, `*.yml` and `*.json` files, sorted, not those of its folders.
    """
    done: set[Path] = set()
    for path in files(paths):
        if path.resolve() not in done:
            done.add(path.resolve())
            yield from _file(path)


def written(text: str, place: str) -> Iterator[Document]:
    """Yield every document of *text*, which is YAML or JSON; *place* is what errors call it."""
    yield from _documents(place, _parsed(text, place))


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that *paths* stand for; `ConfigError` for a path that does not exist."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(str(path), "no such file", _nearest_file(path))
    return found


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist either"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def _file(path: Path) -> Iterator[Document]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    yield from _documents(str(path), _parsed(text, str(path), json=path.suffix == ".json"))


def _documents(whole: str, bodies: list[Any]) -> Iterator[Document]:
    for number, body in enumerate(bodies, 1):
        if body is None:
            continue
        place = f"{whole} document {number}" if len(bodies) > 1 else whole
        if not isinstance(body, dict):
            raise ConfigError(
                place,
                f"a mapping is expected, found {type(body).__name__}",
                "every document starts with apiVersion and kind",
            )
        yield _document(place, body)


def _parsed(text: str, place: str, *, json: bool = False) -> list[Any]:
    try:
        if json:
            return [msgspec.json.decode(text)]
        return list(yaml.load_all(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{place} line {mark.line + 1}, column {mark.column + 1}" if mark else place
        raise ConfigError(line, f"is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(place, f"is not YAML: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(place, f"is not JSON: {error}") from error


def _document(place: str, body: dict[str, Any]) -> Document:
    kind = body.get("kind")
    if kind is None and "endpoints" in body:
        kind = "Endpoints"  # upstream's file discovery writes neither apiVersion nor kind
    if not isinstance(kind, str) or not kind:
        raise ConfigError(
            f"{place} $.kind", "a kind is expected", "such as Gateway, HTTPRoute or InferencePool"
        )
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = str(metadata.get("name", ""))
    namespace = str(metadata.get("namespace", "default"))
    label = f"{kind} {namespace}/{name}" if name else kind
    return Document(f"{place} ({label})", str(body.get("apiVersion", "")), kind, name, namespace, body)
