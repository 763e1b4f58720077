"""A file written for upstream decides as it would there: 1,000 random pool states against formulas written out once more.

The formulas below are those of upstream's documentation, one endpoint at a time, in dictionaries, with blocks where igw has tokens. Nothing of
igw is in them. Where igw means to differ (docs/plugins.md) the states keep away: no request for the base model beside adapters, no adapter that
runs and waits, no endpoint without metrics, no cold endpoint for the LRU.
"""

# ruff: noqa: N803 -- parameters have the names that files give them

from __future__ import annotations

import math
import random
from typing import Any, TypeAlias

import numpy as np
import pytest

from igw.config.documents import Document
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import NobodyLeft
from igw.facts import Adapters, Facts
from igw.request import Head, Request
from igw.scheduling import configured
from igw.scheduling.scheduler import Scheduler

CONFIGURATIONS, STATES_EACH = 100, 10
BLOCK = 64  # tokens

Server: TypeAlias = dict[str, Any]
Values: TypeAlias = dict[str, float]  # by the server's name


def min_max(servers: list[Server], key: str) -> Values:
    """Return (max - v) / (max - min), 1 if all are equal."""
    least, most = min(s[key] for s in servers), max(s[key] for s in servers)
    return {s["name"]: 1.0 if most == least else (most - s[key]) / (most - least) for s in servers}


def load_aware(asked: Server, servers: list[Server], threshold: int = 128) -> Values:
    """Return 0.5 for an empty queue, less for a longer one, 0 from the threshold on."""
    return {
        s["name"]: 0.5 if s["waiting"] == 0 else 0.5 * (1 - min(s["waiting"], threshold) / threshold)
        for s in servers
    }


def active_request(
    asked: Server, servers: list[Server], idleThreshold: int = 0, maxBusyScore: float = 1.0
) -> Values:
    """Return 1 for idle servers, the rest by their distance from the busiest."""
    most = max(s["requests"] for s in servers)
    return {
        s["name"]: 1.0 if s["requests"] <= idleThreshold else (most - s["requests"]) / most * maxBusyScore
        for s in servers
    }


def token_load(asked: Server, servers: list[Server], queueThresholdTokens: int = 4194304) -> Values:
    """Return how far the tokens in flight and this request's uncached ones are from the threshold."""
    scores = {}
    for s in servers:
        uncached = max(0, (asked["blocks"] - s["matched"]) * BLOCK)
        uncached += max(0, asked["tokens"] - asked["blocks"] * BLOCK)
        tokens = s["tokens"] + uncached
        scores[s["name"]] = 1 - min(tokens, queueThresholdTokens) / queueThresholdTokens if tokens > 0 else 1
    return scores


def no_hit_lru(asked: Server, servers: list[Server], **_ignored: Any) -> Values:
    """Return ranks by last cold request, oldest first; every server had one."""
    if any(s["matched"] > 0 for s in servers):
        return {s["name"]: 0.5 for s in servers}
    if len(servers) == 1:
        return {servers[0]["name"]: 1.0}
    oldest_first = sorted(servers, key=lambda s: s["cold_turn"])
    return {s["name"]: 1 - rank / (len(servers) - 1) for rank, s in enumerate(oldest_first)}


def prefix_cache(
    asked: Server, servers: list[Server], matchLengthWeight: float = 0.0, matchLengthScaleTokens: int = 8192
) -> Values:
    """Return the share of blocks that match, mixed with the square of the match's length."""
    scores = {}
    for s in servers:
        share = s["matched"] / asked["blocks"] if asked["blocks"] else 0.0
        length = min(1.0, s["matched"] * BLOCK / matchLengthScaleTokens) ** 2
        scores[s["name"]] = (1 - matchLengthWeight) * share + matchLengthWeight * length
    return scores


def lora_affinity(asked: Server, servers: list[Server]) -> Values:
    """Return the tier of the adapter on each server."""
    scores = {}
    for s in servers:
        if asked["model"] in s["active"]:
            scores[s["name"]] = 1.0
        elif len(s["active"]) + len(s["queued"]) < s["max_lora"]:
            scores[s["name"]] = 0.8
        elif asked["model"] in s["queued"]:
            scores[s["name"]] = 0.6
        else:
            scores[s["name"]] = 0.0
    return scores


def header_label(asked: Server, servers: list[Server], headerName: str, labelKey: str) -> Values:
    """Return 1 where label and header agree."""
    wanted = asked["headers"].get(headerName.lower(), "")
    return {s["name"]: 1.0 if wanted and s["labels"].get(labelKey) == wanted else 0.0 for s in servers}


def media(asked: Server, servers: list[Server]) -> Values:
    """Return the share of the media that was seen."""
    return {s["name"]: s["media"] / asked["media"] if asked["media"] else 0.0 for s in servers}


def attribute(asked: Server, servers: list[Server], attributeKey: str, algorithm: dict[str, Any]) -> Values:
    """Return a scalar's place in its range."""
    there = [s["scalars"][attributeKey] for s in servers if attributeKey in s["scalars"]]
    fixed = algorithm.get("normalization", {}).get("fixedRange")
    scores = {}
    for s in servers:
        if attributeKey not in s["scalars"]:
            scores[s["name"]] = 0.0
            continue
        low, high = (fixed["min"], fixed["max"]) if fixed else (min(there), max(there))
        if low == high:
            scores[s["name"]] = 1.0
            continue
        place = max(0.0, min(1.0, (s["scalars"][attributeKey] - low) / (high - low)))
        scores[s["name"]] = 1 - place if algorithm["type"] == "linear_lower_is_better" else place
    return scores


def context_length(
    asked: Server, servers: list[Server], label: str = "llm-d.ai/context-length-range"
) -> Values:
    """Return how well the range on a label suits the prompt."""
    scores, tokens = {}, asked["tokens"]
    for s in servers:
        low, dash, high = s["labels"].get(label, "").partition("-")
        if label not in s["labels"]:
            score = 0.5
        elif not (dash and low.isdigit() and high.isdigit()):
            score = 0.0
        elif int(low) <= tokens <= int(high):
            width, left = int(high) - int(low), int(high) - tokens
            score = 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * left / width) if width else 1.0
        else:
            distance = int(low) - tokens if tokens < int(low) else tokens - int(high)
            score = 0.3 / (1 + distance / 1000)
        scores[s["name"]] = score
    return scores


SCORERS: dict[str, Any] = {
    "queue-scorer": lambda asked, servers: min_max(servers, "waiting"),
    "running-requests-size-scorer": lambda asked, servers: min_max(servers, "running"),
    "kv-cache-utilization-scorer": lambda asked, servers: {s["name"]: 1 - s["kv"] for s in servers},
    "load-aware-scorer": load_aware,
    "active-request-scorer": active_request,
    "token-load-scorer": token_load,
    "no-hit-lru-scorer": no_hit_lru,
    "prefix-cache-scorer": prefix_cache,
    "lora-affinity-scorer": lora_affinity,
    "header-label-affinity-scorer": header_label,
    "mm-embeddings-cache-scorer": media,
    "endpoint-attribute-scorer": attribute,
    "context-length-aware": context_length,
}


def decode_role(asked: Server, servers: list[Server]) -> list[Server]:
    """Keep servers that decode, and those without a role."""
    roles = (None, "decode", "prefill-decode", "both", "encode-prefill-decode")
    return [s for s in servers if s["labels"].get("llm-d.ai/role") in roles]


def prefill_role(asked: Server, servers: list[Server]) -> list[Server]:
    """Keep servers that prefill."""
    roles = ("prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode")
    return [s for s in servers if s["labels"].get("llm-d.ai/role") in roles]


def label_selector(asked: Server, servers: list[Server], matchLabels: dict[str, str]) -> list[Server]:
    """Keep servers that have all the labels."""
    return [s for s in servers if all(s["labels"].get(key) == value for key, value in matchLabels.items())]


def sticky(
    asked: Server,
    servers: list[Server],
    affinityThreshold: float = 0.8,
    maxTTFTPenaltyMs: float = 18000,
    peakPrefillThroughput: float = 15928,
) -> list[Server]:
    """Keep servers that hold most of the prompt, unless they are much slower to answer than the others."""
    holding = [s for s in servers if asked["blocks"] and s["matched"] / asked["blocks"] >= affinityThreshold]
    others = [s for s in servers if s not in holding]
    if len(servers) <= 1 or not holding or affinityThreshold <= 0:
        return servers
    wait = {s["name"]: s["tokens"] / peakPrefillThroughput * 1000 for s in servers}
    if others and maxTTFTPenaltyMs > 0:
        penalty = min(wait[s["name"]] for s in holding) - min(wait[s["name"]] for s in others)
        if penalty > maxTTFTPenaltyMs:
            return servers
    return holding


def utilization(
    asked: Server, servers: list[Server], conditions: list[dict[str, Any]], fallbackOnEmpty: bool = False
) -> list[Server]:
    """Keep servers of which no value is above its limit."""
    keys = {
        "active-requests": "requests",
        "running-requests": "running",
        "waiting-queue": "waiting",
        "kv-cache-utilization": "kv",
    }
    kept = [s for s in servers if all(s[keys[c["metric"]]] <= c["maxValue"] for c in conditions)]
    return servers if fallbackOnEmpty and not kept else kept


def concurrency(asked: Server, servers: list[Server], maxConcurrency: int = 100) -> list[Server]:
    """Keep servers with less in flight than they may have."""
    return [s for s in servers if s["requests"] < maxConcurrency]


def room(
    asked: Server,
    servers: list[Server],
    queueDepthThreshold: float = 5,
    kvCacheUtilThreshold: float = 0.8,
    headroom: float = 0.0,
) -> list[Server]:
    """Keep servers below both thresholds, all if there is none."""
    queue, kv = queueDepthThreshold * (1 + headroom), kvCacheUtilThreshold * (1 + headroom)
    return [s for s in servers if s["waiting"] < queue and s["kv"] < kv] or servers


def threshold(
    asked: Server,
    servers: list[Server],
    attribute: str,
    algorithm: dict[str, Any],
    onMissing: str = "Pass",
    fallbackOnEmpty: bool = False,
) -> list[Server]:
    """Keep servers whose scalar is below a value."""
    most, kept = algorithm["threshold"]["value"], []
    for s in servers:
        value = s["scalars"].get(attribute)
        if (onMissing == "Pass") if value is None else value < most:
            kept.append(s)
    return servers if fallbackOnEmpty and not kept else kept


FILTERS: dict[str, Any] = {
    "decode-filter": decode_role,
    "prefill-filter": prefill_role,
    "label-selector-filter": label_selector,
    "prefix-cache-affinity-filter": sticky,
    "utilization-filter": utilization,
    "concurrency-detector": concurrency,
    "utilization-detector": room,
    "endpoint-attribute-filter": threshold,
}


def parameters_of(kind: str, draw: random.Random) -> dict[str, Any]:
    """Return some parameters of a plugin, none half of the time if it can do without."""
    lower = draw.choice(["linear_lower_is_better", "linear_higher_is_better"])
    ranges = draw.choice([{}, {"adaptiveRange": {}}, {"fixedRange": {"min": 2, "max": 9}}])
    needed: dict[str, dict[str, Any]] = {
        "header-label-affinity-scorer": {"headerName": "X-Tier", "labelKey": "tier"},
        "endpoint-attribute-scorer": {
            "attributeKey": "depth",
            "algorithm": {"type": lower, "normalization": ranges},
        },
        "endpoint-attribute-filter": {
            "attribute": "depth",
            "algorithm": {"type": "threshold", "threshold": {"operator": "LessThan", "value": 6}},
            "onMissing": draw.choice(["Pass", "Fail"]),
            "fallbackOnEmpty": draw.random() < 0.5,
        },
        "label-selector-filter": {"matchLabels": {"tier": "live"}},
        "utilization-filter": {
            "conditions": [
                {"metric": "waiting-queue", "maxValue": draw.randint(2, 20)},
                {"metric": "kv-cache-utilization", "maxValue": draw.choice([0.5, 0.9])},
            ],
            "fallbackOnEmpty": draw.random() < 0.5,
        },
    }
    optional: dict[str, dict[str, Any]] = {
        "load-aware-scorer": {"threshold": draw.randint(1, 40)},
        "active-request-scorer": {"idleThreshold": draw.randint(0, 9), "maxBusyScore": draw.random()},
        "token-load-scorer": {"queueThresholdTokens": draw.randint(1000, 40_000)},
        "prefix-cache-scorer": {
            "matchLengthWeight": draw.random(),
            "matchLengthScaleTokens": draw.randint(100, 9000),
        },
        "prefix-cache-affinity-filter": {
            "affinityThreshold": draw.choice([0.3, 0.8]),
            "maxTTFTPenaltyMs": draw.choice([0, 500, 18000]),
        },
        "concurrency-detector": {"maxConcurrency": draw.randint(3, 20)},
        "utilization-detector": {
            "queueDepthThreshold": draw.randint(1, 20),
            "kvCacheUtilThreshold": draw.choice([0.4, 0.9]),
            "headroom": draw.choice([0, 0.5]),
        },
    }
    return needed.get(kind) or (optional.get(kind, {}) if draw.random() < 0.5 else {})


def configuration(draw: random.Random) -> dict[str, Any]:
    """Return the body of an `EndpointPickerConfig` with two to six scorers and up to two filters."""
    filters = draw.sample(sorted(FILTERS), draw.randint(0, 2))
    scorers = draw.sample(sorted(SCORERS), draw.randint(2, 6))
    plugins = [
        {"type": kind, "name": f"the-{kind}", "parameters": parameters_of(kind, draw)}
        for kind in filters + scorers
    ]
    picker = {"type": "max-score-picker", "parameters": {"maxNumOfEndpoints": draw.randint(1, 3)}}
    weights = {f"the-{kind}": draw.choice([1, 2, 3, 0.5]) for kind in scorers}
    references: list[dict[str, Any]] = [{"pluginRef": f"the-{kind}"} for kind in filters]
    references += [{"pluginRef": name, "weight": weight} for name, weight in weights.items()]
    return {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [*plugins, picker],
        "schedulingProfiles": [
            {"name": "default", "plugins": [*references, {"pluginRef": "max-score-picker"}]}
        ],
    }


def request(draw: random.Random) -> Server:
    """Return what is asked."""
    blocks = draw.choice([0, 1, 7, 60])
    return {
        "blocks": blocks,
        "tokens": blocks * BLOCK + draw.randint(0, BLOCK - 1),
        "model": draw.choice(["poet", "lawyer"]),
        "headers": draw.choice([{}, {"x-tier": "live"}, {"x-tier": "batch"}]),
        "media": draw.choice([0, 300]),
    }


def server(draw: random.Random, number: int, asked: Server, *, cold: bool) -> Server:
    """Return a server in some state."""
    adapters = draw.sample(["poet", "lawyer", "cook", "smith"], draw.randint(0, 4))
    running = draw.randint(0, len(adapters))
    labels = {
        "tier": draw.choice(["live", "batch"]),
        "llm-d.ai/role": draw.choice([None, "decode", "prefill", "both"]),
        "llm-d.ai/context-length-range": draw.choice([None, "0-1000", "400-9000", "4000-9000", "much"]),
    }
    return {
        "name": f"10.0.0.{number}:8000",
        "labels": {key: value for key, value in labels.items() if value is not None},
        "waiting": draw.choice([0, 0, draw.randint(0, 30)]),
        "running": draw.randint(0, 64),
        "kv": draw.random(),
        "requests": draw.randint(0, 24),
        "tokens": draw.randint(0, 30_000),
        "matched": 0 if cold else draw.randint(0, asked["blocks"]),
        "active": set(adapters[:running]),
        "queued": set(adapters[running:]),
        "max_lora": draw.randint(0, 4),
        "media": draw.randint(0, asked["media"]),
        "scalars": {"depth": draw.uniform(0, 10)} if draw.random() < 0.8 else {},
        "cold_turn": 0,
    }


def facts_of(asked: Server, servers: list[Server]) -> Facts:
    """Return the state as igw's columns."""

    def column(key: str, scale: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([s[key] * scale for s in servers], dtype=float)

    adapters = [
        Adapters(frozenset(s["active"]), frozenset(s["queued"]), s["max_lora"], "base") for s in servers
    ]
    return Facts(
        column("waiting"),
        column("running"),
        column("kv"),
        column("requests"),
        column("matched", BLOCK),
        blocks=range(asked["blocks"]),
        prefix_tokens=asked["blocks"] * BLOCK,
        inflight_tokens=column("tokens"),
        endpoints=tuple(endpoint_of(s) for s in servers),
        adapters=np.array(adapters, dtype=object),
        matched_media=column("media"),
        media_size=asked["media"],
        scalars={"depth": np.array([s["scalars"].get("depth", math.nan) for s in servers])},
    )


def endpoint_of(state: Server) -> Endpoint:
    """Return a server's endpoint."""
    return Endpoint.at(state["name"].partition(":")[0], 8000, labels=state["labels"])


def request_of(asked: Server) -> Request:
    """Return the request as igw reads it."""
    return Request(
        Head("/", "POST", asked["headers"]), model=asked["model"], prompt_bytes=4 * asked["tokens"]
    )


def warm_up(scheduler: Scheduler, servers: list[Server], draw: random.Random) -> None:
    """Give every server a cold request, in some order: plugins with a memory hear of them as they would in service."""
    turns = draw.sample(servers, len(servers))
    plugins = [weighted.scorer for weighted in scheduler.profiles["default"].scorers]
    cold = {**request(draw), "blocks": 0}
    for turn, one in enumerate(turns, start=1):
        one["cold_turn"] = turn
        asked = request_of(cold)
        facts = facts_of(cold, [{**s, "matched": 0} for s in servers])
        for plugin in plugins:
            if hasattr(plugin, "decided"):
                plugin.score(asked, facts)
                plugin.decided(Decision(turn, asked, (endpoint_of(one),)))


def decided(
    body: dict[str, Any], asked: Server, servers: list[Server]
) -> tuple[list[Server], dict[str, Values]]:
    """Return who is left after the filters, and their weighted scores by the scorer's name."""
    plugins = {plugin.get("name"): plugin for plugin in body["plugins"]}
    left, scores = servers, {}
    for reference in body["schedulingProfiles"][0]["plugins"][:-1]:
        plugin = plugins[reference["pluginRef"]]
        if plugin["type"] in FILTERS:
            left = FILTERS[plugin["type"]](asked, left, **plugin["parameters"]) if left else []
        elif left:
            values = SCORERS[plugin["type"]](asked, left, **plugin["parameters"])
            scores[plugin["name"]] = {name: reference["weight"] * value for name, value in values.items()}
    return left, scores


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_a_file_decides_as_upstream_would(seed: int) -> None:
    """Who is left out, every weighted score, and the picks in their order; ties are anybody's."""
    draw = random.Random(seed)
    body = configuration(draw)
    document = Document("file.yaml", body["apiVersion"], body["kind"], "", "default", body)
    scheduler = configured.scheduler(document)
    for _ in range(STATES_EACH):
        asked = request(draw)
        cold = draw.random() < 0.4
        servers = [server(draw, number, asked, cold=cold) for number in range(draw.randint(1, 9))]
        warm_up(scheduler, servers, draw)
        left, expected = decided(body, asked, servers)
        if not left:
            with pytest.raises(NobodyLeft):
                scheduler.pick(request_of(asked), facts_of(asked, servers))
            continue
        choice = scheduler.pick(request_of(asked), facts_of(asked, servers))
        assert set(choice.scores) == set(expected)
        for name, column in choice.scores.items():
            wanted = [expected[name].get(s["name"], math.nan) for s in servers]
            assert column.tolist() == pytest.approx(wanted, abs=1e-9, nan_ok=True), name
        totals = {s["name"]: sum(scores[s["name"]] for scores in expected.values()) for s in left}
        count = min(body["plugins"][-1]["parameters"]["maxNumOfEndpoints"], len(left))
        picked = [totals[servers[index]["name"]] for index in choice.picked]
        assert picked == pytest.approx(sorted(totals.values(), reverse=True)[:count], abs=1e-8)
        assert len(set(choice.picked)) == count
