"""Weak spots of upstream's picker that igw does not have, one test each, over the public pieces.

Numbered after the list that the design was made from: 1-14 load balancing, 15-28 the prefix index, 49-64 framework and configuration.
"""

from __future__ import annotations

import asyncio
import base64
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog

from igw.columns import RETURN_SECONDS
from igw.config import documents
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import ConfigError, NoEndpoints, Rejected
from igw.extproc import mapping
from igw.extproc.events import RequestHeaders
from igw.facts import Adapters, Column, Facts
from igw.outcomes.correction import Correction
from igw.outcomes.health import Health
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.parsing.usage import Usage
from igw.prefix.hashing import BLOCK_BYTES, BLOCK_TOKENS, block_hashes, tokens_at
from igw.prefix.index import MIN_CAPACITY_TOKENS, PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools
from igw.routing.router import Router
from igw.scheduling import builtin
from igw.scheduling.admitters.probabilistic import ProbabilisticAdmitter
from igw.scheduling.api import Ranking
from igw.scheduling.configured import scheduler as configured
from igw.scheduling.filters.session_affinity import SessionAffinityFilter
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.weighted_random import WeightedRandomPicker
from igw.scheduling.profile import Profile, Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.lora_affinity import LoraAffinityScorer
from igw.scheduling.scorers.no_hit_lru import NoHitLruScorer
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer
from igw.scheduling.scorers.queue import QueueScorer
from tests.scheduling.candidates import facts, plugin, request

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{last}", 8000) for last in range(1, 5))
HEADER = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


class Gateway:
    """A picker without its wire: router, ledger, index and what learns from outcomes. The clock is a number."""

    def __init__(self, *endpoints: Endpoint, scheduler: Scheduler | None = None) -> None:
        self.now = 1000.0
        self.prefix = PrefixIndex()
        self.ledger = Ledger(
            60.0, (Correction(self.prefix, self._columns_of), Health(self._columns_of, self.clock))
        )
        self.pools = Pools(self.prefix, self.ledger)
        self.adopt(*(endpoints or ENDPOINTS))
        self.router = Router(self.pools, self.prefix, self.ledger, scheduler or builtin.default(), self.clock)
        self.columns = self.pools.serving(Head("/", "POST", {}))

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def adopt(self, *endpoints: Endpoint) -> None:
        """Serve with these endpoints."""
        self.pools.adopt({"default/p": Pool("p", "default", endpoints)})

    def _columns_of(self, key: str) -> Any:
        return self.pools.columns_of(key)

    async def decide(self, text: str = "", **head: Any) -> Decision:
        """Decide a chat request."""
        return await self.router.route(chat(text, **head))

    def report(self, waiting: Sequence[float] = (0, 0, 0, 0)) -> None:
        """Let every endpoint say how many requests wait there."""
        for endpoint, count in zip(self.columns.pool.endpoints, waiting, strict=True):
            self.columns.report(endpoint.hostport, count, count, 0.0)

    def matched(self, text: str) -> list[int]:
        """Return how many blocks of *text* each endpoint is believed to hold."""
        blocks = block_hashes(chat(text).seed, chat(text).prompt)
        return [int(each) for each in self.prefix.match(blocks)[self.columns.slots]]


def chat(text: str = "", **head: Any) -> Request:
    """Return a chat request."""
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": text}]})
    return read(Head("/v1/chat/completions", "POST", {}, **head), body)


def made(folder: Path, text: str) -> Scheduler:
    """Return the scheduler of a file."""
    path = folder / "picker.yaml"
    path.write_text(HEADER + textwrap.dedent(text))
    (document,) = documents.read([path])
    return configured(document)


# Load balancing ---------------------------------------------------------------------------------------------------


async def test_1_a_burst_between_two_scrapes_does_not_land_on_one_endpoint() -> None:
    """All see the same metrics, and each sees the picks before it."""
    gateway = Gateway()
    gateway.report((0, 1, 1, 1))
    picks = Counter([(await gateway.decide(f"{number} " * 900)).endpoint.hostport for number in range(40)])
    assert len(picks) == 4
    assert max(picks.values()) <= 16


async def test_2_concurrent_picks_see_each_other() -> None:
    """The load is reserved inside the pick: four at once go to four endpoints."""
    gateway = Gateway()
    decisions = await asyncio.gather(*[gateway.decide(f"{number} " * 900) for number in range(4)])
    assert len({decision.endpoint.hostport for decision in decisions}) == 4
    assert gateway.columns.inflight.tolist() == [1, 1, 1, 1]


async def test_3_a_shared_system_prompt_does_not_hold_all_traffic_on_one_endpoint() -> None:
    """What the cache saves is weighed against the wait, in seconds."""
    gateway = Gateway()
    gateway.report()
    shared = "You are a helpful assistant. " * 40
    picks = Counter(
        [(await gateway.decide(f"{shared}{number} " * 3)).endpoint.hostport for number in range(60)]
    )
    assert len(picks) == 4


async def test_4_costs_have_one_unit() -> None:
    """Every term of the default policy is in seconds, for every candidate, and they can be added."""
    decision = await Gateway().decide("x" * 40_000)
    assert len(decision.costs) >= 4
    assert all(len(column) == 4 and np.isfinite(column).all() for column in decision.costs.values())


async def test_6_a_fresh_endpoint_does_not_look_idle() -> None:
    """Until it reports it holds the mean of the others."""
    gateway = Gateway(
        *ENDPOINTS[:2], scheduler=Scheduler.of((Weighted("q", QueueScorer(), 1.0),), MaxScorePicker())
    )
    gateway.report((4, 8))
    gateway.adopt(*ENDPOINTS[:3])
    assert gateway.columns.waiting.tolist() == [4, 8, 6]
    assert (await gateway.decide()).endpoint == ENDPOINTS[0]


async def test_7_last_values_of_a_dead_endpoint_expire() -> None:
    """It was idle when it was last heard of; nobody believes that any more, also while the others' load grows."""
    gateway = Gateway(scheduler=Scheduler.of((Weighted("q", QueueScorer(), 1.0),), MaxScorePicker()))
    gateway.report((0, 3, 5, 7))
    gateway.columns.expire(ENDPOINTS[0].hostport)
    for endpoint, waiting in zip(ENDPOINTS[1:], (30, 50, 70), strict=True):
        gateway.columns.report(endpoint.hostport, waiting, 0, 0)
    assert gateway.columns.waiting[0] == 50
    assert (await gateway.decide()).endpoint == ENDPOINTS[1]


async def test_8_requests_that_fail_eject_an_endpoint_and_it_returns_gradually() -> None:
    """5xx, resets and timeouts count, though its metrics page is fine and looks idle."""
    gateway = Gateway()
    sick = ENDPOINTS[0].hostport
    for number in range(200):
        decision = await gateway.decide(f"{number} " * 300)
        failed = decision.endpoint.hostport == sick
        gateway.ledger.close(decision.id, Outcome(End.COMPLETE, 500 if failed else 200))
        gateway.report()
        if gateway.columns.any_ejected:
            break
    assert gateway.columns.shares(gateway.now).tolist() == [0, 1, 1, 1]
    assert sick not in {(await gateway.decide(f"{number}")).endpoint.hostport for number in range(50)}
    gateway.now += 30
    assert 0 < gateway.columns.shares(gateway.now)[0] < 1
    gateway.now += RETURN_SECONDS
    assert gateway.columns.shares(gateway.now)[0] == 1


def test_9_cold_requests_start_anywhere_and_endpoints_that_left_are_in_nobodys_way() -> None:
    """The first one is not always the first in the list; ranks are those of the candidates there are."""
    firsts = Counter(int(NoHitLruScorer().score(request(), facts(4)).argmax()) for _ in range(200))
    assert len(firsts) == 4
    scorer, known = NoHitLruScorer(), facts(4)
    for row in (0, 1, 2, 3):
        asked = request()
        scorer.score(asked, known)
        scorer.decided(Decision(row, asked, (known.endpoints[row],)))
    left = facts(known.endpoints[2:])
    assert scorer.score(request(), left).tolist() == [1, 0]


def test_10_an_adapter_that_runs_and_waits_takes_one_place_and_base_requests_have_no_preference() -> None:
    """The engine writes both lists from the same map (vLLM)."""
    engine = Adapters(frozenset({"poet"}), frozenset({"poet"}), 2, "base")
    full = Adapters(frozenset({"poet", "cook"}), frozenset({"lawyer"}), 2, "base")
    known = facts(2, adapters=np.array([engine, full], dtype=object))
    assert LoraAffinityScorer().score(request(model="lawyer"), known).tolist() == [0.8, 0.6]
    assert LoraAffinityScorer().score(request(model="base"), known).tolist() == [0, 0]


def test_12_nan_from_a_scorer_poisons_nothing() -> None:
    """It counts as 0, and the others decide."""

    class Broken:
        type = "broken"

        def score(self, _request: Request, known: Facts, /) -> Column:
            return np.full(len(known.inflight), np.nan)

    scorers = (Weighted("broken", Broken(), 9.0), Weighted("queue", QueueScorer(), 1.0))
    choice = Scheduler.of(scorers, MaxScorePicker()).pick(request(), facts(3, waiting=[5, 1, 9]))
    assert list(choice.picked) == [1]


def test_13_a_weighted_draw_names_nobody_without_weight_and_can_be_sharpened() -> None:
    """Retries go to endpoints that scored; a temperature makes small differences matter."""
    picker = WeightedRandomPicker(max_num_of_endpoints=4)
    assert all(set(picker.pick(np.array([0.0, 2.0, 0.0, 1.0]), facts(4))) == {1, 3} for _ in range(50))
    sharp = WeightedRandomPicker(temperature=0.01)
    firsts = Counter(int(sharp.pick(np.array([1.0, 1.1]), facts(2))[0]) for _ in range(200))
    assert firsts[1] > 190


# The prefix index -------------------------------------------------------------------------------------------------


def test_15_a_match_is_contiguous_per_endpoint() -> None:
    """Who misses the first block matches nothing, whoever else has it."""
    index = PrefixIndex()
    first, second = index.slot("a"), index.slot("b")
    index.record(first, [1, 2, 3])
    index.record(second, [1, 2, 3])
    index.forget(second, [1])
    assert index.match([1, 2, 3])[[first, second]].tolist() == [3, 0]


def test_16_heads_of_prompts_are_forgotten_last() -> None:
    """An LRU that evicts a head leaves a tail that can never match."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    count = MIN_CAPACITY_TOKENS // BLOCK_TOKENS[0]
    index.record(slot, range(count))
    index.record(slot, range(10_000, 10_000 + count // 2))
    assert index.match(range(count))[slot] == count - count // 2


def test_17_capacity_counts_tokens_not_blocks() -> None:
    """Large blocks deep in a prompt count for what they are."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, tokens_at(100))
    index.record(slot, range(120))
    assert index.match(range(120))[slot] == 100


def test_19_capacity_follows_what_the_engine_says_later() -> None:
    """A first request before the first scrape freezes nothing."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.record(slot, range(100))
    index.resize(slot, tokens_at(64))
    assert index.match(range(100))[slot] == 64


def test_20_a_prompt_larger_than_the_cache_leaves_nothing_behind() -> None:
    """Not when it is entered, and not when the endpoint is gone."""
    index = PrefixIndex()
    slot = index.slot("a")
    index.resize(slot, MIN_CAPACITY_TOKENS)
    index.record(slot, range(270))
    assert index.statistics().blocks == index.match(range(270))[slot]
    index.remove("a")
    assert index.statistics().blocks == 0


def test_21_hashes_do_not_depend_on_who_is_first_in_the_pool() -> None:
    """Blocks are cut by the prompt alone; what must not be shared is told apart by the seed: model and cache salt."""
    prompt = [memoryview(b"x" * 2000)]
    assert block_hashes(b"m", prompt) == block_hashes(b"m", prompt)
    assert not set(block_hashes(b"m", prompt)) & set(block_hashes(b"other", prompt))


def test_22_only_full_blocks_are_entered() -> None:
    """A tail that almost never matches would count in every share."""
    assert block_hashes(b"", [memoryview(b"x" * (BLOCK_BYTES[0] - 1))]) == []
    assert len(block_hashes(b"", [memoryview(b"x" * (BLOCK_BYTES[0] * 2 + 10))])) == 2


async def test_24_what_answers_say_corrects_the_index_and_who_left_takes_its_entries_along() -> None:
    """Cached tokens that were fewer than believed, a server that never computed, an endpoint that comes back under its name."""
    gateway = Gateway(*ENDPOINTS[:1])
    text = "x" * 40_000
    first = await gateway.decide(text)
    gateway.ledger.close(first.id, Outcome(End.COMPLETE, 200))
    held = gateway.matched(text)[0]
    again = await gateway.decide(text)
    forgot = Usage(prompt_tokens=10_000, completion_tokens=1, cached_tokens=0)
    gateway.ledger.close(again.id, Outcome(End.COMPLETE, 200, usage=forgot))
    assert gateway.matched(text)[0] < held
    lost = await gateway.decide("y" * 4000)
    gateway.ledger.close(lost.id, Outcome(End.FAILED, 503))
    assert gateway.matched("y" * 4000) == [0]
    gateway.adopt(ENDPOINTS[1])
    gateway.adopt(ENDPOINTS[0])
    assert gateway.matched(text) == [0]


def test_26_a_request_without_a_prompt_is_no_error() -> None:
    """Nothing is logged per endpoint, and nobody has a share of nothing."""
    with structlog.testing.capture_logs() as logs:
        scores = PrefixCacheScorer().score(request(), facts(3))
    assert scores.tolist() == [0, 0, 0]
    assert not logs


def test_27_what_differs_in_tool_calls_only_is_told_apart() -> None:
    """The prompt is the bytes of the messages, whatever is in them."""

    def hashes(city: str) -> Sequence[int]:
        call = {"type": "function", "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'}}
        messages = [
            {"role": "user", "content": "w" * 600},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "user", "content": "t" * 600},
        ]
        body = msgspec.json.encode({"model": "m", "messages": messages})
        asked = read(Head("/v1/chat/completions", "POST", {}), body)
        return block_hashes(asked.seed, asked.prompt)

    rome, oslo = hashes("rome"), hashes("oslo")
    assert rome[:2] == oslo[:2]
    assert not set(rome[3:]) & set(oslo[3:])


# Framework and configuration --------------------------------------------------------------------------------------


def test_49_what_a_file_leaves_open_goes_by_its_order(tmp_path: Path) -> None:
    """Filters, scorers and the picker of a profile that is not written: always as they stand in the file."""
    text = """
        plugins:
        - {type: prefill-filter}
        - {type: queue-scorer}
        - {type: decode-filter}
        - {type: random-picker}
        - {type: kv-cache-utilization-scorer}
        """
    for _ in range(5):
        (profile,) = made(tmp_path, text).profiles.values()
        assert [each.name for each in profile.filters] == ["prefill-filter", "decode-filter"]
        assert [each.name for each in profile.scorers] == ["queue-scorer", "kv-cache-utilization-scorer"]
        assert profile.picker.type == "random-picker"


def test_52_a_request_that_is_shed_gets_a_429() -> None:
    """Not a 500, which clients retry and people are woken for."""
    with pytest.raises(Rejected) as caught:
        ProbabilisticAdmitter().admit(request(priority=-1), facts(1, waiting=[99]))
    assert caught.value.status == 429


def test_56_a_handler_that_never_has_enough_comes_to_an_end() -> None:
    """A profile runs once; a decider that said no is told from a profile that found nobody."""

    class Greedy:
        type = "greedy"

        def choose(
            self, _request: Request, profiles: Mapping[str, Any], _done: Mapping[str, Ranking | None], /
        ) -> Sequence[str]:
            return tuple(profiles)

        def primary(self, _request: Request, done: Mapping[str, Ranking | None], /) -> str:
            return next(iter(done))

    choice = Scheduler(
        {"a": Profile((), MaxScorePicker()), "b": Profile((), MaxScorePicker())}, Greedy()
    ).pick(request(), facts(1))
    assert list(choice.profiles) == ["a", "b"]


def test_58_a_session_token_tells_no_name_and_cannot_be_made_up() -> None:
    """A foreign one is no error; an id that was idle for too long is seen as such when it is read."""
    known = facts(2, now=10.0)
    affinity = plugin(SessionAffinityFilter)
    token = affinity.deliver(builtin.default().pick(request(), known).delivery, request(), known, [1], {})
    (value,) = token.answer_headers.values()
    raw = base64.urlsafe_b64decode(value)
    assert not any(each.name.encode() in raw or each.name in value for each in known.endpoints)
    forged = base64.b64encode(b"default/e2").decode()
    with structlog.testing.capture_logs() as logs:
        assert affinity.keep(request({"x-session-token": forged}), known).all()
    assert not logs
    by_id = plugin(SessionAffinityFilter, strategy="session_id")
    asked = request({"x-session-id": "s"})
    by_id.deliver(token, asked, known, [1], {})
    by_id.decided(Decision(1, asked, (known.endpoints[1],), decided_at=10.0))
    assert by_id.keep(asked, known).tolist() == [False, True]
    assert by_id.keep(asked, facts(2, now=311.0)).all()


async def test_60_a_subset_hint_in_any_form_is_a_fence() -> None:
    """One string, or IPv6 in brackets; a hint of another kind lets nobody through rather than everybody."""
    six = Endpoint.at("fd00::1", 8000)
    gateway = Gateway(ENDPOINTS[0], six)

    def hinted(value: Any) -> Head:
        message: Any = mapping.pb.ProcessingRequest()
        hint = message.metadata_context.filter_metadata["envoy.lb.subset_hint"]
        hint.update({"x-gateway-destination-endpoint-subset": value})
        message.request_headers.end_of_stream = True
        event = mapping.event(message, "")
        assert isinstance(event, RequestHeaders)
        return event.head

    for value in (["[fd00::1]:8000"], "[fd00::1]:8000", ["fd00::1"]):
        decision = await gateway.router.route(Request(hinted(value)))
        assert decision.endpoint == six
    with pytest.raises(NoEndpoints):
        await gateway.router.route(Request(hinted(7)))


async def test_63_a_new_configuration_starts_with_what_is_known(tmp_path: Path) -> None:
    """Weights change between two requests; the prefix index and the load counts stay."""
    gateway = Gateway()
    decision = await gateway.decide("x" * 8000)
    gateway.router.use(made(tmp_path, "plugins: [{type: prefix-cache-scorer}, {type: max-score-picker}]\n"))
    assert (await gateway.decide("x" * 8000)).endpoint == decision.endpoint
    assert gateway.columns.inflight.sum() == 2


@pytest.mark.parametrize("written", ["200", "0.2", "2 s", "-1s"])
def test_62_a_duration_without_its_unit_is_refused(written: str, tmp_path: Path) -> None:
    """Nobody has to guess whether a number means seconds, milliseconds or nanoseconds."""
    text = f"""
        plugins:
        - type: utilization-detector
          parameters: {{metricsStalenessThreshold: "{written}"}}
        """
    with pytest.raises(ConfigError, match="metricsStalenessThreshold"):
        made(tmp_path, text)
