"""The keys that upstream's indexer gives to blocks of tokens, so that an index can be shared with it. Our own keys are `igw.prefix.chain`.

llm-d-router `pkg/kvcache/kvblock/token_processor.go`: a key is the hash of its parent's key, the block's tokens and what else the cache depends
on; the first one's parent is the hash of seed and model. `cbor-fnv` is FNV-1a, 64 bits, over the canonical CBOR of [parent, tokens, null];
`xxh64` is XXH64 over parent and tokens, little-endian. Media and cache salts are not in yet, and prompts that have some have no keys.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal

import cbor2
import msgspec
from xxhash import xxh64_intdigest

from igw.prefix.chain import TOKEN_BYTES, Prompt

_OFFSET, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


class Hashing(msgspec.Struct, frozen=True):
    """What all who share an index must agree on (upstream's `tokenProcessorConfig`)."""

    block_tokens: int = 16
    seed: str = ""
    algorithm: Literal["cbor-fnv", "xxh64"] = "cbor-fnv"

    def keys(self, prompt: Prompt, model: str) -> Iterator[int]:
        """Yield the keys of the full blocks of *prompt* for *model*, which is the adapter's name where there is one."""
        if prompt.media or prompt.salt:
            return
        width, tokens = self.block_tokens * TOKEN_BYTES, prompt.little_endian()
        parent = self._root(model)
        for at in range(0, len(tokens) - width + 1, width):
            parent = self._next(parent, tokens[at : at + width])
            yield parent

    def _root(self, model: str) -> int:
        if self.algorithm == "xxh64":
            name = model.encode()
            return xxh64_intdigest(
                xxh64_intdigest(self.seed.encode()).to_bytes(8, "little")
                + len(name).to_bytes(8, "little")
                + name
            )
        return _fnv(_cbor([_fnv(self.seed.encode()), None, model]))

    def _next(self, parent: int, block: bytes) -> int:
        if self.algorithm == "xxh64":
            return xxh64_intdigest(parent.to_bytes(8, "little") + block)
        return _fnv(_cbor([parent, struct.unpack(f"<{self.block_tokens}I", block), None]))


def _cbor(value: Any) -> bytes:
    encoded: bytes = cbor2.dumps(value, canonical=True)
    return encoded


def _fnv(data: bytes) -> int:
    digest = _OFFSET
    for byte in data:
        digest = ((digest ^ byte) * _PRIME) & _MASK
    return digest
