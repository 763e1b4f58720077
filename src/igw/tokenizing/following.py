"""Gives every token producer of a configuration whom it asks. Owner of their connections and threads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp

from igw.errors import ConfigError
from igw.scheduling.producers.token import LocalTokenizers, TokenProducer
from igw.tokenizing.pool_servers import PoolServers
from igw.tokenizing.rendering import Renderer

if TYPE_CHECKING:
    from igw.tokenizing.local import LocalModels

_NEEDED = ("tokenizers", "jinja2")


class Following:
    """Serves the producers there are now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._local: list[tuple[TokenProducer, LocalModels]] = []

    def follow(self, plugins: Mapping[str, Any]) -> None:
        """Let exactly the producers among *plugins* ask; those that can already go on as they are.

        Raises:
            ConfigError: a local tokenizer cannot be used.
        """
        wanted = [each for each in plugins.values() if isinstance(each, TokenProducer) and not each.idle]
        for producer in wanted:
            if producer.ask is None:
                self._serve(producer)
        for producer, models in [each for each in self._local if not any(each[0] is one for one in wanted)]:
            models.close()
            self._local.remove((producer, models))

    async def close(self) -> None:
        """Close the connections, and let the threads end."""
        for _, models in self._local:
            models.close()
        self._local.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _serve(self, producer: TokenProducer) -> None:
        if producer.local is not None:
            models = loaded(producer.local, producer.model_name)
            self._local.append((producer, models))
            producer.ask = models.tokens
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        if producer.endpoints is not None:
            producer.ask = PoolServers(self._session, self._clock).tokens
        else:
            producer.ask = Renderer(self._session, producer.url, producer.model_name, self._clock).tokens


def loaded(settings: LocalTokenizers, default: str) -> LocalModels:
    """Return the models of a producer, ready.

    Raises:
        ConfigError: they cannot be used, or what reads them is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "token-producer: local", f"{' and '.join(missing)} not installed", "pip install 'igw[tokenizers]'"
        )
    from igw.tokenizing.local import LocalModels

    return LocalModels(settings, default)


def check(plugins: Mapping[str, Any]) -> None:
    """Load the local tokenizers of *plugins*, and let them go.

    Raises:
        ConfigError: one cannot be used.
    """
    for each in plugins.values():
        if isinstance(each, TokenProducer) and each.local is not None:
            loaded(each.local, each.model_name).close()
