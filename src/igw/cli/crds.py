"""`igw crds`: the CustomResourceDefinitions of the inference APIs, to be piped into kubectl."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def crds(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="Only these, such as InferencePool.", metavar="[KIND]...")
    ] = None,
    legacy: Annotated[
        bool,
        typer.Option(
            "--legacy", help="Also those of inference.networking.x-k8s.io/v1alpha2, for old objects."
        ),
    ] = False,
) -> None:
    """Print the CustomResourceDefinitions that a cluster needs for igw, as YAML.

    They accept, default and print what upstream's do: objects made for those work unchanged.

    Example: igw crds | kubectl apply -f -
    """
    from igw.config.decode import nearest
    from igw.kubernetes.crds.definitions import KINDS, text

    for kind in kinds or ():
        if kind not in KINDS:
            print(f"igw crds: there is no kind `{kind}` here ({nearest(kind, KINDS)})", file=sys.stderr)
            sys.exit(1)
    print(text(kinds or KINDS, legacy=legacy), end="")
