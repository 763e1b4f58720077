"""Every plugin type that upstream has, and what is known of it before it is built: role, stability, facts it needs and gives.

Which of them igw has is in `builtin`, their parameters are in their own files. Types of others come by the entry point group `igw.plugins`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec

from igw.facts import ADDED, FETCHES, LOAD, MEDIA, PREFIX, SESSION, TOKENS
from igw.scheduling import builtin

GROUP = "igw.plugins"
"""Entry points of out-of-tree plugins: type = module:class."""

LATENCY = "LatencyPredictionInfo"

ROLES: Mapping[str, str] = {
    "keep": "filter", "score": "scorer", "pick": "picker", "choose": "handler", "produce": "producer", "admit": "admitter",
    "screen": "screener", "process": "hook", "deliver": "hook", "saturation": "detector", "turns": "fairness",
    "rank": "ordering", "ceilings": "limit", "evictable": "eviction", "victim_rank": "eviction",
}  # fmt: skip
"""What a plugin's methods make it."""


class Need(msgspec.Struct, frozen=True):
    """A fact that a plugin reads, and its parameter that says whose; optional ones only order producers."""

    fact: str
    parameter: str = ""
    optional: bool = False


class Known(msgspec.Struct, frozen=True):
    """What is known of one plugin type."""

    roles: tuple[str, ...]
    alpha: bool = False
    needs: tuple[Need, ...] = ()
    provides: tuple[str, ...] = ()
    instead: str = ""
    """Deprecated: what to use."""
    alias: str = ""
    """Another name for this type."""
    inert: str = ""
    """Accepted without a class of its own, because it changes no pick here: why."""
    elsewhere: str = ""
    """Has its effect without a class among the plugins: where."""
    later: str = ""
    """Upstream has it, igw not yet: what it belongs to."""
    later_with: Mapping[str, Any] = {}
    """Parameters that igw cannot follow yet, and the values they must not have; None: any."""
    parameters: tuple[str, ...] | None = None
    """Names that are accepted where there is no class to say; None: any."""


_PREFIX_OF = Need(PREFIX, "prefixMatchInfoProducerName")
_LOAD_OF = Need(LOAD, "inFlightLoadProducerName")
_LATENCY_OF = Need(LATENCY, "latencyPredictionInfoProducerName")
_TOKENS = Need(TOKENS)
_SPLIT, _PREDICT, _CLUSTERS = "disaggregated serving", "latency prediction", "several clusters"
_TOKENIZERS = {"udsTokenizerConfig": None}


def _has(
    *roles: str, needs: tuple[Need, ...] = (), alpha: bool = False, provides: tuple[str, ...] = ()
) -> Known:
    return Known(roles, alpha, needs, provides)


def _inert(role: str, why: str, *parameters: str, alpha: bool = False) -> Known:
    return Known((role,), alpha, inert=why, parameters=parameters)


def _later(
    *roles: str, of: str, needs: tuple[Need, ...] = (), alpha: bool = False, provides: tuple[str, ...] = ()
) -> Known:
    return Known(roles, alpha, needs, provides, later=of)


def _called(alias: str, *roles: str, needs: tuple[Need, ...] = (), provides: tuple[str, ...] = ()) -> Known:
    return Known(roles, needs=needs, provides=provides, instead=alias, alias=alias)


_POLLS = (
    "scheme",
    "path",
    "port",
    "insecureSkipVerify",
    "caCertPath",
    "clientCertPath",
    "clientKeyPath",
    "interval",
)

HANDLERS: Mapping[str, Known] = {
    "single-profile-handler": _has("handler"),
    "header-profile-handler": _has("handler", alpha=True),
    "data-parallel-profile-handler": _has("handler"),
    "disagg-profile-handler": _later("handler", of=_SPLIT, needs=(Need(PREFIX), _TOKENS)),
    "pd-profile-handler": Known(("handler",), needs=(Need(PREFIX), _TOKENS), instead="disagg-profile-handler", later=_SPLIT),
    "disagg-headers-handler": Known(("hook",), instead="disagg-profile-handler", later=_SPLIT),
    "prefill-header-handler": Known(("hook",), instead="disagg-profile-handler", later=_SPLIT),
    "always-disagg-pd-decider": _later("decider", of=_SPLIT),
    "prefix-based-pd-decider": _later("decider", of=_SPLIT),
    "always-disagg-multimodal-decider": _later("decider", of=_SPLIT),
}  # fmt: skip

FILTERS: Mapping[str, Known] = {
    "label-selector-filter": _has("filter"),
    "by-label-selector": _called("label-selector-filter", "filter"),
    "by-label": Known(("filter",), instead="label-selector-filter"),
    "decode-filter": _has("filter"),
    "prefill-filter": _has("filter"),
    "encode-filter": _has("filter"),
    "endpoint-attribute-filter": _has("filter", alpha=True),
    "prefix-cache-affinity-filter": Known(
        ("filter",),
        needs=(_PREFIX_OF, _LOAD_OF),
        later=_PREDICT,
        later_with={"ttftSource": "latencyPredictor"},
    ),
    "slo-headroom-tier-filter": _later("filter", of=_PREDICT, needs=(_LATENCY_OF,)),
    "session-affinity-filter": _has("filter", alpha=True),
    "multicluster-session-affinity-filter": _later("filter", of=_CLUSTERS, alpha=True),
    "topology-affinity-filter": _has("filter", alpha=True),
    "utilization-filter": _has("filter", alpha=True, needs=(_LOAD_OF,)),
    "header-based-testing-filter": _has("filter"),
    "context-length-aware": _has("filter", "scorer", needs=(_TOKENS,)),
    "utilization-detector": _has("filter", "detector"),
    "concurrency-detector": _has("filter", "detector", needs=(_LOAD_OF,)),
}

SCORERS: Mapping[str, Known] = {
    "queue-scorer": _has("scorer"),
    "kv-cache-utilization-scorer": _has("scorer"),
    "prefix-cache-scorer": _has("scorer", needs=(_PREFIX_OF,)),
    "running-requests-size-scorer": _has("scorer"),
    "load-aware-scorer": _has("scorer"),
    "active-request-scorer": _has("scorer", needs=(_LOAD_OF,)),
    "token-load-scorer": _has("scorer", needs=(_LOAD_OF, Need(ADDED, "inFlightLoadProducerName"))),
    "no-hit-lru-scorer": _has("scorer", needs=(_PREFIX_OF,)),
    "lora-affinity-scorer": _has("scorer"),
    "session-affinity-scorer": _has("scorer", alpha=True),
    "header-label-affinity-scorer": _has("scorer", alpha=True),
    "topology-affinity-scorer": _has("scorer", alpha=True),
    "mm-embeddings-cache-scorer": _has("scorer", needs=(Need(MEDIA, "producerName"),)),
    "endpoint-attribute-scorer": _has("scorer", alpha=True),
    "latency-scorer": _later("scorer", of=_PREDICT, needs=(_LATENCY_OF, _PREFIX_OF)),
    "precise-prefix-cache-scorer": Known(("scorer", "producer"), needs=(_TOKENS,), provides=(PREFIX,),
                                         instead="precise-prefix-cache-producer", later="the precise prefix index"),
    "multicluster-queue-scorer": _later("scorer", of=_CLUSTERS, alpha=True),
    "multicluster-kv-cache-utilization-scorer": _later("scorer", of=_CLUSTERS, alpha=True),
    "multicluster-prefix-cache-scorer": _later("scorer", of=_CLUSTERS, alpha=True, needs=(_PREFIX_OF,)),
}  # fmt: skip

PICKERS: Mapping[str, Known] = {
    "max-score-picker": _has("picker"),
    "random-picker": _has("picker"),
    "weighted-random-picker": _has("picker"),
}

PRODUCERS: Mapping[str, Known] = {
    "token-producer": Known(("producer",), provides=(TOKENS,), later="tokenizers", later_with=_TOKENIZERS),
    "tokenizer": Known(
        ("producer",), provides=(TOKENS,), instead="token-producer", alias="token-producer", later="tokenizers", later_with=_TOKENIZERS
    ),
    "approx-prefix-cache-producer": _has("producer", needs=(_TOKENS,), provides=(PREFIX,)),
    "inflight-load-producer": _has("producer", "extractor", needs=(_TOKENS, Need(PREFIX, "prefixMatchInfoProducerName", optional=True)),
                                   provides=(LOAD, ADDED)),
    "session-id-producer": _has("producer", provides=(SESSION,)),
    "mm-embeddings-cache-producer": _has("producer", "extractor", needs=(_TOKENS,), provides=(MEDIA,)),
    "multicluster-approx-prefix-cache-producer": _later("producer", of=_CLUSTERS, alpha=True, needs=(_TOKENS,), provides=(PREFIX,)),
    "precise-prefix-cache-producer": Known(
        ("producer", "extractor"), needs=(_TOKENS,), provides=(PREFIX,)),
    "burst-prefix-cache-producer": Known(
        ("producer",), alpha=True, needs=(_TOKENS,), provides=(PREFIX,), later="joint placement of bursts",
        parameters=("windowDurationMs", "maxPerReplica", "blockSizeTokens", "maxPrefixTokensToMatch", "minColocateBlocks",
                    "maxBatchSize", "balanceBy")),
    "p2p-source-producer": _has("producer", "hook", alpha=True, needs=(_PREFIX_OF,), provides=(FETCHES,)),
    "predicted-latency-producer": _later("producer", of=_PREDICT, provides=(LATENCY,), needs=(
        _PREFIX_OF, _LOAD_OF)),
}  # fmt: skip

ADMITTERS: Mapping[str, Known] = {
    "probabilistic-admitter": _has("admitter"),
    "latency-slo-admitter": _later("admitter", of=_PREDICT, needs=(_LATENCY_OF,)),
    "disaggregatedset-rollout-screener": _later("screener", "extractor", of=_SPLIT, alpha=True),
    "agent-identity": _has("hook", alpha=True),
    "request-attribute-reporter": _inert("hook", "usage is not reported to the proxy yet", "attributes"),
    "destination-endpoint-served-verifier": _has("hook"),
}

DATA: Mapping[str, Known] = {
    "metrics-data-source": Known(("source",), elsewhere="scraping", parameters=(*_POLLS, "bearerTokenPath")),
    "core-metrics-extractor": Known(("extractor",), elsewhere="scraping", parameters=(
        "engineLabelKey", "defaultEngine", "engineConfigs")),
    "models-data-source": _inert("source", "nothing reads it", *_POLLS),
    "models-data-extractor": _inert("extractor", "nothing reads it"),
    "dcgm-data-source": Known(("source",), alpha=True, later="metrics of accelerators",
                              parameters=(*_POLLS, "useNodeAddress")),
    "dcgm-extractor": _later("extractor", of="metrics of accelerators", alpha=True),
    "topology-extractor": _inert("extractor", "labels are read where they are needed", "hostname", "rack", "zone", "region",
                                 alpha=True),
    "k8s-notification-source": _inert("source", "files are watched instead", "group", "version", "kind"),
    "endpoint-notification-source": _inert("source", "who needs to know of endpoints is told"),
    "multicluster-metrics-data-source": _later("source", of=_CLUSTERS, alpha=True),
    "multicluster-metrics-extractor": _later("extractor", of=_CLUSTERS, alpha=True),
    "file-discovery": _later("discovery", of="discovery by plugin; list endpoints in files of -f instead"),
    "multicluster-file-discovery": _later("discovery", of=_CLUSTERS, alpha=True),
}  # fmt: skip

PARSERS: Mapping[str, Known] = {
    name: Known(("parser",), elsewhere="parsing", parameters=())
    for name in (
        "openai-parser", "anthropic-parser", "vllmhttp-parser", "vllmgrpc-parser", "sglanghttp-parser", "vertexai-parser",
        "passthrough-parser", "tgi-parser", "kserve-parser",
    )
}  # fmt: skip
"""The last two are ours: upstream has none for what they read."""

FLOW: Mapping[str, Known] = {
    "global-strict-fairness-policy": _has("fairness"),
    "round-robin-fairness-policy": _has("fairness"),
    "program-aware-fairness": _has("fairness"),
    "fcfs-ordering-policy": _has("ordering"),
    "edf-ordering-policy": _has("ordering"),
    "slo-deadline-ordering-policy": _has("ordering"),
    "static-usage-limit-policy": _has("limit"),
    "priority-holdback-policy": _has("limit", alpha=True),
    "soft-reflective-ceiling-policy": _has("limit", alpha=True),
    "sheddable-eviction-filter": _has("eviction", alpha=True),
    "priority-then-time-eviction-order-policy": _has("eviction", alpha=True),
}

FEEDS: Mapping[str, tuple[str, ...]] = {
    "metrics-data-source": ("core-metrics-extractor",),
    "models-data-source": ("models-data-extractor",),
    "dcgm-data-source": ("dcgm-extractor",),
    "multicluster-metrics-data-source": ("multicluster-metrics-extractor",),
    "k8s-notification-source": ("topology-extractor", "disaggregatedset-rollout-screener"),
    "endpoint-notification-source": (
        "precise-prefix-cache-producer", "inflight-load-producer", "mm-embeddings-cache-producer",
    ),
}  # fmt: skip
"""Data sources and the extractors that can read what they bring."""

UPSTREAM: Mapping[str, Known] = {
    **HANDLERS, **FILTERS, **SCORERS, **PICKERS, **PRODUCERS, **ADMITTERS, **DATA, **PARSERS, **FLOW,
}  # fmt: skip
"""All types of upstream."""


def classes() -> dict[str, type[Any]]:
    """Return the types that igw has itself, with their classes."""
    tables: Iterable[Mapping[str, type[Any]]] = (
        builtin.FILTERS, builtin.SCORERS, builtin.PICKERS, builtin.HANDLERS, builtin.ADMITTERS, builtin.PRODUCERS,
        builtin.PROCESSORS, builtin.REPORTERS, builtin.FLOW,
    )  # fmt: skip
    found: dict[str, type[Any]] = {}
    for table in tables:
        found.update(table)
    return found


def class_of(kind: str) -> type[Any] | None:
    """Return the class of a plugin type: ours, else an out-of-tree one; None if there is none.

    Raises:
        TypeError: what an entry point names is no plugin.
    """
    own = classes()
    known = UPSTREAM.get(kind)
    found = own.get(kind) or (own.get(known.alias) if known is not None else None)
    if found is not None:
        return found
    for entry in entry_points(group=GROUP, name=kind):
        loaded: Any = entry.load()
        if not (isinstance(loaded, type) and issubclass(loaded, msgspec.Struct)):
            raise TypeError(f"the entry point {entry.value} is not a msgspec.Struct")
        if not roles_of(loaded):
            raise TypeError(f"{entry.value} has none of the methods {', '.join(ROLES)}")
        return loaded
    return None


def types() -> set[str]:
    """Return the names of all types that a file may write: igw's, upstream's and out-of-tree ones."""
    return {*UPSTREAM, *classes(), *(entry.name for entry in entry_points(group=GROUP))}


def roles_of(plugin: Any) -> tuple[str, ...]:
    """Return the roles that the methods of a class or an instance give it."""
    return tuple(role for method, role in ROLES.items() if hasattr(plugin, method))


def known(kind: str, plugin: Any = None) -> Known:
    """Return what is known of a type: upstream's table, else what the class says (`needs`, `provides` as names of facts)."""
    if kind in UPSTREAM:
        return UPSTREAM[kind]
    needs = tuple(Need(fact) for fact in getattr(plugin, "needs", ()))
    return Known(roles_of(plugin), needs=needs, provides=tuple(getattr(plugin, "provides", ())))
