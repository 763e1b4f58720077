"""How near two endpoints are to each other, by the labels that Kubernetes puts on nodes. Who has to be near whom is decided by plugins."""

from __future__ import annotations

from igw.endpoint import Endpoint

LEVELS = ("host", "rack", "zone", "region")
"""Nearest first."""
LABELS = (
    "kubernetes.io/hostname",
    "topology.kubernetes.io/rack",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
"""Where the level is written, in the order of `LEVELS` (the defaults of upstream's `topology-extractor`)."""
APART = len(LEVELS)


def distance(one: Endpoint, other: Endpoint) -> int:
    """Return the index in `LEVELS` of the nearest level that both share; `APART` if none, or if it is not known."""
    for level, label in enumerate(LABELS):
        if (where := one.labels.get(label)) and where == other.labels.get(label):
            return level
    return APART
