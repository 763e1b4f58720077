"""`igw convert`: objects that were replaced, as what replaced them, with the differences in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from igw.errors import ConfigError


def convert(
    files: Annotated[
        list[Path],
        typer.Option("-f", "--file", help="Files with InferenceModels, or directories.", metavar="PATH"),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, not to standard output.")
    ] = None,
) -> None:
    """Turn InferenceModels (GIE v0.1 to v0.5) into InferenceObjectives and InferenceModelRewrites.

    What will be different is told on standard error. Other objects of the files are not written.

    Example: igw convert -f old-models.yaml -o models.yaml
    """
    try:
        _write(_text(files), output)
    except ConfigError as error:
        print(f"igw convert: {error}", file=sys.stderr)
        sys.exit(1)


def _text(files: list[Path]) -> str:
    import yaml

    from igw.config.conversion import converted
    from igw.config.documents import read

    documents = list(read(files))
    found = converted(documents)
    if not found.documents:
        raise ConfigError(", ".join(map(str, files)), "there is no InferenceModel here")
    for where, note in found.notes:
        print(f"{where}: {note}", file=sys.stderr)
    for document in documents:
        if document.kind != "InferenceModel":
            print(f"{document.source}: not written, it needs no conversion", file=sys.stderr)
    print("A model that no InferenceModel named was Sheddable; now it has priority 0.", file=sys.stderr)
    return str(yaml.safe_dump_all(found.documents, sort_keys=False, allow_unicode=True))


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(output), f"cannot be written: {error.strerror}") from error
