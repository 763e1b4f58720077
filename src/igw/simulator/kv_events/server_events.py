"""KV events of one server: how its blocks are named, what its sequences bring along, a publisher for each rank.

Where the engines are that cause them is in `serving`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from igw.simulator.engine.sequence import Sequence as EngineSequence
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.kv_events.hashing import BlockHasher, Media, TokenSequence
from igw.simulator.kv_events.messages import BatchEncoder
from igw.simulator.kv_events.publisher import KvPublisher
from igw.simulator.text import TOKEN_BYTES

_MEDIA = re.compile(rb"<\|media:([0-9a-f]{16})\|>\.*")


class ServerEvents:
    """What a server that publishes KV events does otherwise than one that does not.

    `numbers` are its data-parallel ranks, of `ranks` in all; `replica` tells equal servers apart, by port.
    """

    def __init__(
        self,
        config: KvEventsConfig,
        block_size: int,
        place: tuple[int, Sequence[int], int],
        wall_clock: Callable[[], float],
    ) -> None:
        replica, numbers, ranks = place
        self._config = config
        self._hasher = BlockHasher(config.prefix_caching_hash_algo, config.hash_seed, block_size)
        hash_bytes = None if config.int_block_hashes else self._hasher.digest_bytes
        self.publishers = [
            KvPublisher(
                config.shifted(replica, number, ranks),
                BatchEncoder(block_size, encoding=config.encoding, hash_bytes=hash_bytes, rank=number),
                wall_clock,
            )
            for number in numbers
        ]

    def hashes(self, tokens: array[int], adapter: str, salt: str) -> tuple[int, ...]:
        """Return the names of the full blocks; adapter and salt are empty where there is none."""
        return self._hasher.hashes(tokens, adapter or None, media_in(tokens), salt or None)

    @staticmethod
    def told(
        sequence: EngineSequence, tokens: array[int], salt: str, lora_id: int | None = None
    ) -> TokenSequence:
        """Return *sequence* with what its events tell."""
        return TokenSequence(
            **{name: getattr(sequence, name) for name in EngineSequence.__struct_fields__},
            tokens=tokens,
            cache_salt=salt or None,
            lora_id=lora_id,
            media=media_in(tokens),
        )

    def succeed(self, earlier: ServerEvents) -> None:
        """Take over the addresses that the server had before a restart."""
        for publisher, before in zip(self.publishers, earlier.publishers, strict=True):
            publisher.succeed(before)

    @asynccontextmanager
    async def running(self, address: str, port: int, model: str) -> AsyncIterator[None]:
        """Publish while the context is open; EventAddressError when an address cannot be used."""
        topic = self._config.topic
        for name, value in {"address": address, "port": str(port), "model": model}.items():
            topic = topic.replace(f"{{{name}}}", value)
        async with AsyncExitStack() as stack:
            for publisher in self.publishers:
                await stack.enter_async_context(publisher.running(topic))
            yield


def media_in(tokens: array[int]) -> tuple[Media, ...]:
    """Return the pictures, sounds and films whose placeholders (`text.render_chat`) are among *tokens*."""
    raw = tokens.tobytes()
    return tuple(
        Media(
            match[1].decode(),
            match.start() // TOKEN_BYTES,
            -(-match.end() // TOKEN_BYTES) - match.start() // TOKEN_BYTES,
        )
        for match in _MEDIA.finditer(raw)
    )
