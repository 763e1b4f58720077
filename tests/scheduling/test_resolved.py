"""Defaults: what a file leaves out, filled in by upstream's rules, in file order where upstream is random."""

from __future__ import annotations

import pytest

from igw.config.documents import written
from igw.errors import ConfigError
from igw.facts import SESSION
from igw.scheduling import dependencies, registry
from igw.scheduling.resolved import Resolved, resolve
from igw.scheduling.specs import Spec
from igw.scheduling.wiring import PARSERS


def resolved(text: str = "", *, allow_experimental: bool = True) -> Resolved:
    """Return a configuration with its defaults."""
    (document,) = written(f"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}", "text")
    return resolve(document, allow_experimental=allow_experimental)


def test_an_empty_file_has_every_default() -> None:
    """As upstream fills it in."""
    got = resolved()
    assert {name: [use.name for use in uses] for name, uses in got.profiles.items()} == {
        "default": ["max-score-picker"]
    }
    assert got.handler == "single-profile-handler"
    assert got.detector == "utilization-detector"
    assert got.parsers == PARSERS
    assert got.sources == {"metrics-data-source": ("core-metrics-extractor",)}
    assert not any(spec.written for spec in got.specs.values())
    policies = {"fcfs-ordering-policy", "global-strict-fairness-policy", "static-usage-limit-policy"}
    assert policies < set(got.specs)


def test_a_profile_of_everything_is_in_file_order_and_has_no_detector_that_was_added() -> None:
    """Detectors are filters too: one that is written is in it."""
    got = resolved(
        "plugins: [{type: queue-scorer}, {type: decode-filter}, {type: token-producer}, {type: kv-cache-utilization-scorer}]"
    )
    names = [use.name for use in got.profiles["default"]]
    assert names == ["queue-scorer", "decode-filter", "kv-cache-utilization-scorer", "max-score-picker"]
    got = resolved("plugins: [{type: concurrency-detector}]")
    assert [use.name for use in got.profiles["default"]] == ["concurrency-detector", "max-score-picker"]


def test_the_facts_that_are_needed_get_their_producers() -> None:
    """Under their types' names, in an order in which each has what it needs."""
    got = resolved("plugins: [{type: prefix-cache-scorer}, {type: token-load-scorer}]")
    assert got.levels == (
        ("token-producer",),
        ("approx-prefix-cache-producer",),
        ("inflight-load-producer",),
    )
    assert not got.specs["approx-prefix-cache-producer"].written
    assert "needs PrefixCacheMatchInfo" in got.specs["approx-prefix-cache-producer"].where


def test_a_producer_that_is_configured_is_not_added() -> None:
    """Under its own name it is another one, and both run, as upstream has it."""
    got = resolved("plugins: [{type: prefix-cache-scorer}, {type: approx-prefix-cache-producer}]")
    assert got.specs["approx-prefix-cache-producer"].written
    got = resolved("plugins: [{type: prefix-cache-scorer}, {type: approx-prefix-cache-producer, name: mine}]")
    assert got.levels[1] == ("mine", "approx-prefix-cache-producer")


def test_optional_needs_order_producers_and_add_none() -> None:
    """Upstream may count uncached tokens before the prefix is known."""
    got = resolved(
        "plugins: [{type: inflight-load-producer}, {type: approx-prefix-cache-producer}, {type: token-producer}]"
    )
    assert [level[0] for level in got.levels] == [
        "token-producer", "approx-prefix-cache-producer", "inflight-load-producer",
    ]  # fmt: skip
    assert "approx-prefix-cache-producer" not in resolved("plugins: [{type: inflight-load-producer}]").specs


def test_parsers_need_not_be_listed_as_plugins() -> None:
    """By type, or under another name if they are."""
    assert resolved("requestHandler: {parsers: [{pluginRef: vllmgrpc-parser}]}").parsers == (
        "vllmgrpc-parser",
    )
    text = "plugins: [{type: openai-parser, name: mine}]\nrequestHandler: {parsers: [{pluginRef: mine}]}"
    assert resolved(text).parsers == ("mine",)
    assert resolved("parser: {pluginRef: openai-parser}").parsers == ("openai-parser",)


def test_the_deprecated_detector_counts_where_no_other_is_written() -> None:
    """It moved below `flowControl`."""
    plugins = "plugins: [{type: concurrency-detector, name: a}, {type: concurrency-detector, name: b}]\n"
    assert resolved(plugins + "saturationDetector: {pluginRef: a}").detector == "a"
    both = "saturationDetector: {pluginRef: a}\nflowControl: {saturationDetector: {pluginRef: b}}"
    assert resolved(plugins + both).detector == "b"


def test_a_metrics_source_under_another_name_is_not_added_a_second_time() -> None:
    """Upstream compares names and scrapes twice."""
    text = "plugins: [{type: metrics-data-source, name: m}]\ndataLayer: {sources: [{pluginRef: m}]}"
    assert resolved(text).sources == {"m": ()}


def test_experimental_plugins_need_permission() -> None:
    """Only those that are written; nothing experimental is ever added."""
    resolved("plugins: [{type: utilization-filter, parameters: {conditions: []}}]")
    with pytest.raises(ConfigError, match="`utilization-filter` is experimental") as caught:
        resolved("plugins: [{type: utilization-filter}]", allow_experimental=False)
    assert caught.value.where.endswith("$.plugins[0].type")
    resolved("plugins: [{type: queue-scorer}]", allow_experimental=False)


def test_a_session_has_no_default_producer() -> None:
    """It cannot know which header or cookie."""
    known = registry.Known(("scorer",), needs=(registry.Need(SESSION),))
    specs = {"s": Spec("s", "sticky", {}, "text $.plugins[0]", known)}
    with pytest.raises(ConfigError, match="needs the session of a request"):
        dependencies.order(specs)
