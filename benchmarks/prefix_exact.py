"""The exact prefix index: a million blocks entered and looked up, what they take of memory, how fast events are taken in."""

from __future__ import annotations

import random
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from statistics import median
from typing import Any

import msgspec

from igw.prefix.chain import Prompt, keys, packed
from igw.prefix.events import BlockRemoved, BlockStored, decode
from igw.prefix.exact import ExactIndex

BLOCKS = 1_000_000
ENDPOINTS = 100
BLOCK_TOKENS = 16
PROMPT_BLOCKS = 2048
_DRAW = random.Random(8)

Rows = list[dict[str, Any]]


def _tokens(blocks: int) -> list[int]:
    raw = array("I")
    raw.frombytes(_DRAW.randbytes(4 * blocks * BLOCK_TOKENS))
    return [token & 0x1FFFF for token in raw]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _best_us(work: Callable[[], Any], times: int = 20) -> float:
    return min(_seconds(work) for _ in range(times)) * 1e6


def _median_us(
    match: Callable[[Any], Any], hashed: Callable[[bytes], Any], prompts: Iterable[bytes]
) -> float:
    """Return what a lookup takes of a prompt that comes for the first time: its part of the index is in no cache of the processor."""
    taken = []
    for prompt in prompts:
        blocks = hashed(prompt)
        taken.append(_seconds(partial(match, blocks)))
    return median(taken) * 1e6


class _DictOfSets:
    """What one would write first: block -> the endpoints that hold it."""

    def __init__(self) -> None:
        self.holders: dict[int, set[str]] = {}

    def store(self, endpoint: str, blocks: list[int]) -> None:
        for block in blocks:
            self.holders.setdefault(block, set()).add(endpoint)

    def match(self, blocks: list[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        left: set[str] | None = None
        for depth, block in enumerate(blocks):
            holders = self.holders.get(block, set())
            gone = (left or set()) - holders
            found.update(dict.fromkeys(gone, depth))
            left = set(holders) if left is None else left & holders
            if not left:
                return found
        found.update(dict.fromkeys(left or (), len(blocks)))
        return found


def _events(holders: int, blocks: int) -> Iterator[tuple[int, BlockStored]]:
    """Yield so many blocks in prompts of 2,048, each at so many endpoints; endpoints call them by names of their own."""
    for number in range(blocks // PROMPT_BLOCKS + 1):
        tokens = _tokens(PROMPT_BLOCKS)
        for copy in range(holders):
            slot = (number + copy * 7) % ENDPOINTS
            names: list[int | bytes] = [_DRAW.getrandbits(64) for _ in range(PROMPT_BLOCKS)]
            yield slot, BlockStored(names, token_ids=tokens, block_size=BLOCK_TOKENS, medium="GPU")


def _filled(
    holders: int, blocks: int = BLOCKS, told: Callable[[int, BlockStored], Any] = lambda *_: None
) -> tuple[ExactIndex, float]:
    index = ExactIndex(max_bytes=1 << 34)
    for slot in range(ENDPOINTS):
        index.slot(str(slot))
    seconds = 0.0
    for slot, event in _events(holders, blocks):
        start = time.process_time()
        index.apply(slot, (event,))
        seconds += time.process_time() - start
        told(slot, event)
    return index, seconds


def _of_index() -> Rows:
    plain, prompts = _DictOfSets(), list[bytes]()
    plain_seconds = 0.0

    def hashed(tokens: bytes) -> list[int]:
        return keys(Prompt(tokens), BLOCK_TOKENS)

    def told(slot: int, event: BlockStored) -> None:
        nonlocal plain_seconds
        prompts.append(packed(event.token_ids))
        blocks = hashed(prompts[-1])
        start = time.process_time()
        plain.store(str(slot), blocks)
        plain_seconds += time.process_time() - start

    index, seconds = _filled(1, told=told)
    chain, some = index.keys(Prompt(prompts[0])), _DRAW.sample(prompts[1:], 100)
    shared, everywhere = ExactIndex(), _tokens(PROMPT_BLOCKS)
    for slot in range(ENDPOINTS):
        names: list[int | bytes] = list(range(PROMPT_BLOCKS))
        shared.apply(
            shared.slot(str(slot)), [BlockStored(names, token_ids=everywhere, block_size=BLOCK_TOKENS)]
        )
    chain_shared = shared.keys(Prompt(packed(everywhere)))
    everyone = _DictOfSets()
    for slot in range(ENDPOINTS):
        everyone.store(str(slot), chain_shared[BLOCK_TOKENS])
    return [
        {
            "case": "a block entered, us",
            "exact": seconds / BLOCKS * 1e6,
            "dict of sets": plain_seconds / BLOCKS * 1e6,
        },
        {
            "case": "2,048 blocks looked up, one holder, us",
            "exact": _best_us(lambda: index.match(chain)),
            "dict of sets": _best_us(lambda: plain.match(chain[BLOCK_TOKENS])),
        },
        {
            "case": "the same, for the first time, us",
            "exact": _median_us(index.match, lambda tokens: index.keys(Prompt(tokens)), some),
            "dict of sets": _median_us(plain.match, hashed, some),
        },
        {
            "case": "2,048 blocks looked up, 100 holders, us",
            "exact": _best_us(lambda: shared.match(chain_shared)),
            "dict of sets": _best_us(lambda: everyone.match(chain_shared[BLOCK_TOKENS])),
        },
        {
            "case": "a prompt of 2,048 blocks hashed, us",
            "exact": _best_us(lambda: index.keys(Prompt(prompts[0]))),
            "dict of sets": None,
        },
    ]


def _of_memory() -> Rows:
    rows = []
    for holders in (1, 2, 10):
        tracemalloc.start()
        index, _ = _filled(holders, BLOCKS // 10)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        statistics = index.statistics()
        rows.append(
            {
                "case": f"memory, {holders} holders, bytes per block",
                "exact": taken / statistics.blocks,
                "dict of sets": None,
                "as accounted": statistics.size_bytes / statistics.blocks,
            }
        )
    return rows


def _of_ingest() -> Rows:
    """Messages as vLLM sends them in decoding: an event for each block that a step filled or evicted, a batch per step."""
    rows = []
    for per_message in (1, 16):
        index = ExactIndex()
        payloads = []
        for number in range(20_000 // per_message):
            events: list[Any] = []
            for each in range(per_message):
                name = number * per_message + each
                if name % 2:
                    events.append(BlockRemoved([name - 1], "GPU", 0))
                else:
                    extra = BlockStored(
                        [name], None, _tokens(1), BLOCK_TOKENS, None, "GPU", None, [None], 0, "full_attention"
                    )
                    events.append(extra)
            payloads.append(msgspec.msgpack.encode([1.5, events, 0]))
        slot = index.slot("a")

        def ingest(payloads: list[bytes] = payloads, index: ExactIndex = index, slot: int = slot) -> None:
            for payload in payloads:
                index.apply(slot, decode(payload).events)

        share = _best_us(ingest, 5) / 20_000 * 50_000 / 1e6 * 100
        rows.append(
            {
                "case": f"50,000 events/s, {per_message} a message, % of a core",
                "exact": share,
                "dict of sets": None,
            }
        )
    return rows


def rows() -> Rows:
    """Return what index, memory and ingest take."""
    return [*_of_index(), *_of_memory(), *_of_ingest()]
