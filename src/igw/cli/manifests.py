"""`igw manifests`: the chart's objects as plain YAML, to be piped into kubectl. What they are is `igw.kubernetes.install`'s business."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from typing import Annotated

import typer

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,51}[a-z0-9])?")
"""Of which the names of all objects can be made: what Helm takes for a release, and a Service for its name."""
_MOST_PORTS = 8
_LABEL = re.compile(
    r"(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]*)=(?P<value>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
)


def manifests(
    mode: Annotated[str, typer.Argument(help="inferencepool, standalone or bbr.", metavar="MODE")],
    name: Annotated[
        str, typer.Option(help="Name of the pool; its picker is NAME-epp. With bbr that of the router.")
    ],
    namespace: Annotated[str, typer.Option(help="Namespace of all objects.")] = "default",
    match_label: Annotated[
        list[str] | None, typer.Option(help="A label of the pool's Pods; repeatable.", metavar="KEY=VALUE")
    ] = None,
    target_port: Annotated[
        list[int] | None,
        typer.Option(help="A port of the model servers; repeatable. 8000 unless given.", min=1, max=65535),
    ] = None,
    image: Annotated[str, typer.Option(help="Image of igw; igw:VERSION unless given.")] = "",
) -> None:
    """Print what the Helm chart installs with its default values, as YAML.

    inferencepool is a pool and its picker, standalone a picker with an Envoy beside it, bbr the body-based router.

    Example: igw manifests inferencepool --name llama --match-label app=llama | kubectl apply -f -
    """
    from igw.errors import ConfigError
    from igw.kubernetes.install.rendered import Release, text

    try:
        _check(mode, name, namespace)
        labels = _labels(match_label or [], needed=mode != "bbr")
        release = Release(
            name, namespace, image or f"igw:{version('igw')}", labels, _ports(target_port or [8000])
        )
    except ConfigError as error:
        sys.exit(f"igw manifests: {error}")
    print(text(mode, release), end="")


def _check(mode: str, name: str, namespace: str) -> None:
    from igw.config.decode import nearest
    from igw.errors import ConfigError
    from igw.kubernetes.install.rendered import MODES

    if mode not in MODES:
        raise ConfigError("MODE", f"there is no mode `{mode}`", nearest(mode, MODES))
    for flag, value in (("--name", name), ("--namespace", namespace)):
        if not _NAME.fullmatch(value):
            hint = "small letters, digits and -, 53 at most"
            raise ConfigError(flag, f"`{value}` is no name of a Service", hint)


def _ports(written: list[int]) -> tuple[int, ...]:
    from igw.errors import ConfigError

    ports = tuple(dict.fromkeys(written))
    if len(ports) > _MOST_PORTS:
        raise ConfigError("--target-port", f"a pool has {_MOST_PORTS} ports at most")
    return ports


def _labels(written: list[str], *, needed: bool) -> dict[str, str]:
    from igw.errors import ConfigError

    if needed and not written:
        raise ConfigError(
            "--match-label", "says which Pods the pool has, and is missing", "such as app=llama"
        )
    labels = {}
    for each in written:
        found = _LABEL.fullmatch(each)
        if found is None:
            raise ConfigError("--match-label", f"`{each}` is no label", "such as app=llama")
        labels[found["key"]] = found["value"] or ""
    return labels
