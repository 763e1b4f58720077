"""`igw check`: what a configuration means, what is doubtful about it, and old files in today's form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from igw.errors import ConfigError

if TYPE_CHECKING:
    from igw.config.documents import Document
    from igw.config.manifests import Manifests


def check(
    files: Annotated[
        list[Path],
        typer.Option("-f", "--file", help="Manifests, an EndpointPickerConfig among them.", metavar="PATH"),
    ],
    convert: Annotated[
        bool, typer.Option("--convert", help="Write the EndpointPickerConfig in today's form instead.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, not to standard output.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are warnings.")] = False,
    refresh_metrics_interval: Annotated[
        float, typer.Option(help="The scrape interval that `igw epp` will have, in seconds.", min=0.01)
    ] = 0.05,
) -> None:
    """Check files without running anything, and print the EndpointPickerConfig with every default filled in.

    Warnings go to standard error, each with a code that docs/warnings.md explains. Exits with 1 if the files cannot be used.

    Example: igw check -f examples/policies/upstream-default.yaml
    """
    from igw.config.manifests import load

    try:
        manifests = load(files)
        warnings = _of_rewrites(manifests)
        if manifests.picker_config is None:
            _without(manifests, warnings)
            if strict and warnings:
                sys.exit(1)
            return
        if convert:
            _write(_converted(manifests.picker_config), output)
            return
        body, found = _checked(manifests.picker_config, manifests, refresh_metrics_interval)
        warnings += found
        _warn(warnings)
        _write(body, output)
    except ConfigError as error:
        print(f"igw check: {error}", file=sys.stderr)
        sys.exit(1)
    if strict and warnings:
        sys.exit(1)


def _without(manifests: Manifests, warnings: list[tuple[str, str, str]]) -> None:
    for ignored in manifests.ignored:
        print(f"passed over: {ignored.source}: {ignored.reason}", file=sys.stderr)
    _warn(warnings)
    print("The files can be used. There is no EndpointPickerConfig: the built-in default decides.")


def _warn(warnings: list[tuple[str, str, str]]) -> None:
    for code, where, message in warnings:
        print(f"{code} {where}: {message}", file=sys.stderr)


def _of_rewrites(manifests: Manifests) -> list[tuple[str, str, str]]:
    from igw.routing.rewrite_concerns import rewrite_concerns

    return [(each.code, each.where, each.message) for each in rewrite_concerns(manifests)]


def _checked(
    document: Document, manifests: Manifests, interval: float
) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    from igw.scheduling import configured, printed
    from igw.scheduling.concerns import concerns
    from igw.scheduling.resolved import resolve
    from igw.scraping.settings import Scraping
    from igw.scraping.settings import configured as scraped
    from igw.tokenizing.following import check as check_tokenizers

    resolved = resolve(document)
    if resolved.later:
        configured.decoded(resolved.specs.values())  # it cannot be built, but what there is must be right
    else:
        check_tokenizers(configured.built(resolved).plugins.by_name)
    scraping = scraped(resolved, Scraping(interval))
    found = concerns(resolved, scraping.interval_seconds, manifests.simulators)
    return printed.document(resolved), [(each.code, each.where, each.message) for each in found]


def _converted(document: Document) -> dict[str, Any]:
    from igw.config import legacy
    from igw.scheduling import configured
    from igw.scheduling.resolved import resolve

    for where, what in legacy.today(document)[1]:
        print(f"{document.source} {where}: {what}", file=sys.stderr)
    newest = legacy.newest(document)
    configured.decoded(resolve(newest).specs.values())
    return newest.body


def _write(body: dict[str, Any], output: Path | None) -> None:
    import yaml

    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(output), f"cannot be written: {error.strerror}") from error
