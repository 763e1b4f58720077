"""Who may ask the metrics port, as it was said at the start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from lightkube.config.kubeconfig import SingleConfig

from igw.debugging.access import Authority, TokenFile
from igw.debugging.reviews import Reviews
from igw.kubernetes.client import connection


class Authentication(msgspec.Struct, frozen=True):
    """Whose tokens are good. With neither metrics are for everybody, and all else is for this machine."""

    token_file: Path | None = None
    """The token in it is; wins over the cluster."""
    cluster: SingleConfig | None = None
    """Those of whoever this cluster lets read the pages are."""

    async def authority(
        self, stack: contextlib.AsyncExitStack, clock: Callable[[], float]
    ) -> Authority | None:
        """Return who knows tokens, as long as *stack* is not left; None: nobody.

        Raises:
            ConfigError: no token in the file, or credentials for the cluster that cannot be used.
        """
        if self.token_file is not None:
            return TokenFile(self.token_file, clock)
        if self.cluster is None:
            return None
        return Reviews(await stack.enter_async_context(connection(self.cluster)), clock)
