"""What is taken from a configuration's plugins beside ranking."""

from __future__ import annotations

from typing import Any

from igw.facts import PREFIX
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS
from igw.scheduling import instances
from igw.scheduling.producers.approx_prefix_cache import ApproxPrefixCacheProducer
from igw.scheduling.producers.token import TokenProducer
from igw.scheduling.scorers.queue import QueueScorer


class Hooked:
    """A plugin with every hook, and a producer that takes its time."""

    type = "hooked"
    provides = ("X",)
    deadline_seconds = 0.1

    async def produce(self, *_: Any) -> dict[str, Any]:
        return {}

    def screen(self, *_: Any) -> Any: ...
    def decided(self, *_: Any) -> None: ...
    def ended(self, *_: Any) -> None: ...
    def left(self, *_: Any) -> None: ...


def test_hooks_of_every_configured_plugin_are_taken() -> None:
    """Once per instance, even if it has two names."""
    plugin = Hooked()
    got = instances.of({"a": plugin, "b": plugin, "q": QueueScorer()})
    assert got.screeners == (plugin,)
    assert got.decided == (plugin.decided,)
    assert got.ended == (plugin.ended,)
    assert got.left == (plugin.left,)


def test_producers_are_taken_by_level_with_their_deadlines() -> None:
    """An asynchronous one is one that requests wait for."""
    got = instances.of({"h": Hooked(), "t": TokenProducer()}, (("t",), ("h",)))
    ((late,),) = (level for level in got.producers if level[0].name == "h")
    assert (late.deadline_seconds, late.waits, got.waits) == (0.1, True, True)


def test_producers_that_add_nothing_to_what_is_always_gathered_do_not_run() -> None:
    """Under a name of their own they do: it is by that name that they are read."""
    approximate = ApproxPrefixCacheProducer()
    levels = (("token-producer",), ("approx-prefix-cache-producer",))
    plain = {"token-producer": TokenProducer(), "approx-prefix-cache-producer": approximate}
    assert instances.of(plain, levels).producers == ()
    assert not instances.of(plain, levels).waits
    named = instances.of({"mine": approximate}, (("mine",),))
    assert [each.name for each in named.producers[0]] == ["mine"]
    assert PREFIX in approximate.provides


def test_the_first_producer_says_how_large_the_index_is() -> None:
    """Without one it is as always."""
    assert instances.of({}).capacity_tokens == DEFAULT_CAPACITY_TOKENS
    assert instances.of({}).follows_engines
    first = ApproxPrefixCacheProducer(auto_tune=False, lru_capacity_per_server=100)
    got = instances.of({"a": first, "b": ApproxPrefixCacheProducer()})
    assert (got.capacity_tokens, got.follows_engines) == (6400, False)
