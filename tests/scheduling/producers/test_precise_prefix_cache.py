"""`precise-prefix-cache-producer`: what engines told, tiers, what was just routed, and the approximate index where they told nothing."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import TOKENS, Facts
from igw.parsing.usage import Usage
from igw.prefix.chain import Prompt, packed
from igw.prefix.doubts import Doubt
from igw.prefix.events import BlockRemoved, BlockStored
from igw.request import Head, Request
from igw.scheduling.producers.precise_prefix_cache import PrecisePrefixCacheProducer

ENDPOINTS = tuple(Endpoint.at("10.0.0.1", port) for port in (1, 2, 3))
TOKEN_IDS = list(range(64))


def producer(**parameters: Any) -> PrecisePrefixCacheProducer:
    """Return one made of a file's parameters, whose engines have slots."""
    made = msgspec.convert(parameters, PrecisePrefixCacheProducer)
    for endpoint in ENDPOINTS:
        made.index.slot(endpoint.hostport)
    return made


def store(made: PrecisePrefixCacheProducer, slot: int, tokens: list[int], **more: Any) -> None:
    """Let an engine tell of blocks of 16 tokens, all of them since its start."""
    names: list[int | bytes] = list(range(len(tokens) // 16))
    made.index.apply(slot, [BlockStored(names, token_ids=tokens, block_size=16, **more)])
    made.index.note_whole(slot, whole=True)


def request(
    tokens: list[int] | None = TOKEN_IDS, text: bytes = b"", model: str = "m", salt: str = ""
) -> Request:
    """Return a request that brings tokens, or a text."""
    part = memoryview(array("I", tokens)).cast("B") if tokens is not None else memoryview(text)
    return Request(
        Head("/v1/completions", "POST", {}), model=model, prompt=(part,), prompt_bytes=part.nbytes,
        seed=f"{model}\0{salt}".encode(),
    )  # fmt: skip


def facts(believed: tuple[float, float, float] = (0, 0, 0), now: float = 0.0, **more: Any) -> Facts:
    """Return facts in which the approximate index believes that."""
    zero = np.zeros(3)
    return Facts(
        zero,
        zero,
        zero,
        zero,
        np.array(believed, dtype=float),
        prefix_tokens=64,
        endpoints=ENDPOINTS,
        now=now,
        **more,
    )


def said(made: PrecisePrefixCacheProducer, of: Request, by: Facts) -> tuple[list[float], int, list[str]]:
    """Return what it produces: tokens, of how many, and by what that is known."""
    known = by.knowing(made.type, made.produce(of, by))
    matched, total = known.prefix(made.type)
    return matched.tolist(), total, known.matched_by.tolist()


def decision(of: Request, port: int, number: int = 1) -> Decision:
    return Decision(id=number, request=of, endpoints=(ENDPOINTS[port - 1],))


def test_it_says_what_engines_hold() -> None:
    """In the tokens of the model, whatever the approximate index believes of an engine that told all."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    store(made, 1, TOKEN_IDS[:32])
    store(made, 2, [9] * 16)
    assert said(made, request(), facts((0, 64, 64))) == ([64, 32, 0], 64, ["exact", "exact", ""])


def test_where_an_engine_told_nothing_the_guess_counts() -> None:
    """And where it told more than is guessed, that."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    made.index.note_whole(0, whole=False)
    assert said(made, request(), facts((16, 48, 0))) == ([64, 48, 0], 64, ["exact", "approximate", ""])


def test_without_tokens_the_guess_counts() -> None:
    """A text that nobody made tokens of: all is approximate."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    assert said(made, request(None, b"x" * 256), facts((0, 48, 0))) == ([0, 48, 0], 64, [])


def test_tokens_of_a_token_producer_are_used() -> None:
    """And the guess, which counts four bytes as a token, is measured by them."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    tokens = Prompt(packed(TOKEN_IDS))
    known = facts((0, 100, 0), produced={f"{TOKENS}/token-producer": tokens})
    assert said(made, request(None, b"x" * 512), known)[:2] == ([64, 50, 0], 64)


def test_the_keys_of_a_prompt_that_waits_are_computed_once() -> None:
    """What a token producer found stays with the request; each look uses it."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    tokens = Prompt(packed(TOKEN_IDS))
    known = facts(produced={f"{TOKENS}/token-producer": tokens})
    made.produce(request(None, b"x" * 512), known)
    keys = tokens.known_keys[16]
    assert said(made, request(None, b"x" * 512), known)[0] == [64, 0, 0]
    assert tokens.known_keys[16] is keys


def test_what_is_priced_counts_four_bytes_as_a_token() -> None:
    """As all that is known of work does; what the approximate index says goes by its own name then."""
    made = producer()
    store(made, 0, TOKEN_IDS[:32])
    text = facts((0, 100, 0), produced={f"{TOKENS}/token-producer": Prompt(packed(TOKEN_IDS))})
    known = text.knowing(made.type, made.produce(request(None, b"x" * 512), text))
    assert known.matched_tokens.tolist() == [64, 100, 0], "half of 128, and the guess"
    assert known.matched_by.tolist() == ["exact", "approximate", ""]
    assert known.prefix("approx-prefix-cache-producer")[0].tolist() == [0, 100, 0]


def test_lower_tiers_are_worth_less() -> None:
    """Upstream's 0.8 for the memory of the CPU, or what the file says; nothing is rounded."""
    for parameters, worth in (
        ({}, 0.8),
        ({"kvCacheBackendConfigs": [{"name": "cpu", "weight": 0.25}]}, 0.25),
    ):
        made = producer(indexerConfig=parameters)
        store(made, 0, TOKEN_IDS)
        made.index.apply(0, [BlockStored([3], medium="CPU"), BlockRemoved([3], "GPU")])
        assert said(made, request(), facts())[0][0] == pytest.approx(48 + 16 * worth)


def test_adapters_and_salts_are_told_apart() -> None:
    """By what the engine says it stored."""
    made = producer()
    store(made, 0, TOKEN_IDS, lora_name="ada", extra_keys=[["ada"]] * 4)
    store(made, 1, TOKEN_IDS, extra_keys=[["pepper"], None, None, None])
    assert said(made, request(model="ada"), facts())[0] == [64, 0, 0]
    assert said(made, request(salt="pepper"), facts())[0] == [0, 64, 0]
    assert said(made, request(), facts())[0] == [0, 0, 0]


def test_a_pick_counts_until_the_engine_tells() -> None:
    """If the file asks for that, for two seconds."""
    made = producer(speculativeIndexing=True)
    store(made, 0, TOKEN_IDS[:16])
    made.produce(request(), facts(now=10.0))
    made.decided(decision(request(), 1))
    assert said(made, request(), facts(now=11.9)) == ([64, 0, 0], 64, ["speculative", "", ""])
    assert said(made, request(), facts(now=12.0)) == ([16, 0, 0], 64, ["exact", "", ""])


def test_what_was_held_is_not_expected() -> None:
    """It may be evicted at once, and the engine tells so."""
    made = producer(speculativeIndexing=True)
    store(made, 0, TOKEN_IDS[:16])
    made.produce(request(), facts(now=10.0))
    made.decided(decision(request(), 1))
    made.index.apply(0, [BlockRemoved([0])])
    assert said(made, request(), facts(now=10.1))[0] == [0, 0, 0]


def test_endpoints_that_nobody_listens_to_are_not_doubted() -> None:
    """Another pool's: its requests have no tokens, its servers no events."""
    made, told = msgspec.convert({}, PrecisePrefixCacheProducer), list[Doubt]()
    made.doubts.report = told.append
    for number in range(40):
        of = request(None, b"x" * 400)
        made.produce(of, facts())
        made.decided(decision(of, 1, number))
        usage = Usage(prompt_tokens=64, cached_tokens=64)
        made.ended(decision(of, 1, number), SimpleNamespace(status=200, served_by="", usage=usage))
    assert told == []


def test_by_default_it_does_not() -> None:
    """Upstream's default."""
    made = producer()
    store(made, 0, TOKEN_IDS[:16])
    made.produce(request(), facts())
    made.decided(decision(request(), 1))
    assert said(made, request(), facts())[0] == [16, 0, 0]


def test_an_endpoint_that_left_is_forgotten() -> None:
    """Also if another takes its place."""
    made = producer()
    store(made, 0, TOKEN_IDS)
    made.left(ENDPOINTS[0].hostport)
    assert said(made, request(), facts())[0] == [0, 0, 0]


def test_tokens_that_never_match_are_reported() -> None:
    """The engine says that it had them cached, time and again."""
    made, told = producer(), list[Doubt]()
    made.doubts.report = told.append
    store(made, 0, [7] * 64)
    for number in range(40):
        made.produce(request(), facts())
        made.decided(decision(request(), 1, number))
        made.ended(
            decision(request(), 1, number),
            SimpleNamespace(status=200, served_by="", usage=Usage(prompt_tokens=64, cached_tokens=64)),
        )
    assert told == [Doubt("never-match", ENDPOINTS[0].hostport)]


@pytest.mark.parametrize(
    ("size", "most"), [("2GiB", 2 << 30), ("10 MB", 10_000_000), ("4096", 4096), ("3KiB", 3072)]
)
def test_memory_is_what_the_file_says(size: str, most: int) -> None:
    """In upstream's notation."""
    made = producer(indexerConfig={"kvBlockIndexConfig": {"costAwareMemoryConfig": {"size": size}}})
    assert made._max_bytes == most


def test_a_file_that_shares_its_index_in_redis_runs_unchanged() -> None:
    """Every picker of ours hears the engines itself."""
    made = producer(indexerConfig={"kvBlockIndexConfig": {"redisConfig": {"address": "redis://x"}}})
    assert made.index.statistics().entries == 0


@pytest.mark.parametrize(
    ("parameters", "said_so"),
    [
        ({"indexerConfig": {"kvBlockIndexConfig": {"redisConfig": {"adress": "redis://x"}}}}, "adress"),
        ({"kvEventConfig": {}}, "unknown field"),
        ({"speculativeTTL": "2 seconds"}, "speculativeTTL"),
        ({"kvEventsConfig": {"engineType": "llama"}}, "engineType"),
    ],
)
def test_what_it_cannot_follow_is_refused(parameters: dict[str, Any], said_so: str) -> None:
    """With the place."""
    with pytest.raises(msgspec.ValidationError, match=said_so):
        producer(**parameters)
