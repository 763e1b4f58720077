"""The chart's objects for one release: the rendered files with names in the places that the rendering left open. What they say is the chart's business."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

import msgspec

MODES = ("inferencepool", "standalone", "bbr")
"""Those of the chart; each is a rendered file of its name."""

NAME, NAMESPACE, REPOSITORY, TAG, LABEL, PORT = (
    "open-release", "open-namespace", "open-repository", "open-tag", "open-label", "65535",
)  # fmt: skip
"""What the chart is rendered with where a release says something of its own."""


class Release(msgspec.Struct, frozen=True):
    """What differs from one release to another."""

    name: str
    namespace: str
    image: str
    labels: Mapping[str, str] = {}
    """Of the Pods of the pool; there is none in mode `bbr`."""
    target_ports: tuple[int, ...] = (8000,)


def text(mode: str, release: Release) -> str:
    """Return the objects of *release* as YAML documents."""
    written = (files(__package__) / f"{mode}.yaml").read_text()
    written = _lines(
        written,
        f"{LABEL}: open",
        (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in release.labels.items()),
    )
    written = _lines(written, f"- number: {PORT}", (f"- number: {port}" for port in release.target_ports))
    for place, value in (
        (f"{REPOSITORY}:{TAG}", release.image),
        (NAMESPACE, release.namespace),
        (NAME, release.name),
    ):
        written = written.replace(place, value)
    return written


def _lines(written: str, line: str, others: Iterable[str]) -> str:
    """Return *written* with *others* in the place of *line*, indented as it is."""
    among = tuple(others)
    return re.sub(
        rf"^( *){re.escape(line)}\n",
        lambda found: "".join(f"{found[1]}{each}\n" for each in among),
        written,
        flags=re.MULTILINE,
    )
