"""Which scheduling plugins there are, by type, and the default profile made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from igw.endpoint import Pool
from igw.flow.builtin import POLICIES as FLOW_POLICIES
from igw.prefix.events import PORT_LABEL
from igw.scheduling import instances
from igw.scheduling.admitters.probabilistic import ProbabilisticAdmitter
from igw.scheduling.filters.by_label import ByLabel
from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from igw.scheduling.filters.context_length_aware import ContextLengthAware
from igw.scheduling.filters.endpoint_attribute import EndpointAttributeFilter
from igw.scheduling.filters.header_based_testing import HeaderBasedTestingFilter
from igw.scheduling.filters.label_selector import LabelSelectorFilter
from igw.scheduling.filters.learned_concurrency_detector import LearnedConcurrencyDetector
from igw.scheduling.filters.prefix_cache_affinity import PrefixCacheAffinityFilter
from igw.scheduling.filters.role import DecodeFilter, EncodeFilter, PrefillFilter
from igw.scheduling.filters.session_affinity import SessionAffinityFilter
from igw.scheduling.filters.topology_affinity import TopologyAffinityFilter
from igw.scheduling.filters.utilization import UtilizationFilter
from igw.scheduling.filters.utilization_detector import UtilizationDetector
from igw.scheduling.handlers.data_parallel import DataParallelProfileHandler
from igw.scheduling.handlers.header_profile import HeaderProfileHandler
from igw.scheduling.handlers.single_profile import SingleProfileHandler
from igw.scheduling.instances import Instances
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.near_tie import NearTiePicker
from igw.scheduling.pickers.random_order import RandomPicker
from igw.scheduling.pickers.round_robin import RoundRobinPicker
from igw.scheduling.pickers.weighted_random import WeightedRandomPicker
from igw.scheduling.processors.agent_identity import AgentIdentity
from igw.scheduling.producers.approx_prefix_cache import ApproxPrefixCacheProducer
from igw.scheduling.producers.inflight_load import InflightLoadProducer
from igw.scheduling.producers.mm_embeddings_cache import MmEmbeddingsCacheProducer
from igw.scheduling.producers.p2p_source import P2pSourceProducer
from igw.scheduling.producers.precise_prefix_cache import (
    Discovery,
    KvEventsConfig,
    PrecisePrefixCacheProducer,
)
from igw.scheduling.producers.remote_cache import RemoteCacheProducer
from igw.scheduling.producers.session_id import SessionIdProducer
from igw.scheduling.producers.shared_cache import SharedCacheProducer
from igw.scheduling.producers.token import PoolServers, TokenProducer
from igw.scheduling.profile import Weighted
from igw.scheduling.reporters.served_verifier import ServedVerifier
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.active_request import ActiveRequestScorer
from igw.scheduling.scorers.endpoint_attribute import EndpointAttributeScorer
from igw.scheduling.scorers.header_label_affinity import HeaderLabelAffinityScorer
from igw.scheduling.scorers.kv_cache import KvCacheUtilizationScorer
from igw.scheduling.scorers.load_aware import LoadAwareScorer
from igw.scheduling.scorers.lora_affinity import LoraAffinityScorer
from igw.scheduling.scorers.marginal_work import MarginalWorkScorer
from igw.scheduling.scorers.mm_embeddings_cache import MmEmbeddingsCacheScorer
from igw.scheduling.scorers.no_hit_lru import NoHitLruScorer
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer
from igw.scheduling.scorers.queue import QueueScorer
from igw.scheduling.scorers.running_requests import RunningRequestsSizeScorer
from igw.scheduling.scorers.session_affinity import SessionAffinityScorer
from igw.scheduling.scorers.token_load import TokenLoadScorer
from igw.scheduling.scorers.topology_affinity import TopologyAffinityScorer

SCORERS: dict[str, type[Any]] = {
    plugin.type: plugin
    for plugin in (
        QueueScorer,
        RunningRequestsSizeScorer,
        KvCacheUtilizationScorer,
        LoadAwareScorer,
        ActiveRequestScorer,
        TokenLoadScorer,
        NoHitLruScorer,
        PrefixCacheScorer,
        LoraAffinityScorer,
        HeaderLabelAffinityScorer,
        MmEmbeddingsCacheScorer,
        EndpointAttributeScorer,
        SessionAffinityScorer,
        TopologyAffinityScorer,
        ContextLengthAware,
        MarginalWorkScorer,
    )
}

PICKERS: dict[str, type[Any]] = {
    plugin.type: plugin
    for plugin in (MaxScorePicker, RandomPicker, WeightedRandomPicker, RoundRobinPicker, NearTiePicker)
}


FILTERS: dict[str, type[Any]] = {
    plugin.type: plugin
    for plugin in (
        LabelSelectorFilter,
        ByLabel,
        DecodeFilter,
        PrefillFilter,
        EncodeFilter,
        EndpointAttributeFilter,
        PrefixCacheAffinityFilter,
        SessionAffinityFilter,
        TopologyAffinityFilter,
        UtilizationFilter,
        ContextLengthAware,
        UtilizationDetector,
        ConcurrencyDetector,
        LearnedConcurrencyDetector,
        HeaderBasedTestingFilter,
    )
}

HANDLERS: dict[str, type[Any]] = {
    plugin.type: plugin for plugin in (SingleProfileHandler, HeaderProfileHandler, DataParallelProfileHandler)
}

PROCESSORS: dict[str, type[Any]] = {plugin.type: plugin for plugin in (AgentIdentity,)}

REPORTERS: dict[str, type[Any]] = {plugin.type: plugin for plugin in (ServedVerifier,)}

PRODUCERS: dict[str, type[Any]] = {
    plugin.type: plugin
    for plugin in (
        TokenProducer,
        ApproxPrefixCacheProducer,
        InflightLoadProducer,
        SessionIdProducer,
        MmEmbeddingsCacheProducer,
        PrecisePrefixCacheProducer,
        P2pSourceProducer,
        RemoteCacheProducer,
        SharedCacheProducer,
    )
}

FLOW: dict[str, type[Any]] = dict(FLOW_POLICIES)

ADMITTERS: dict[str, type[Any]] = {plugin.type: plugin for plugin in (ProbabilisticAdmitter,)}


def default(pools: Iterable[Pool] = (), before: Instances | None = None) -> Scheduler:
    """Return the policy of a picker without configuration: the least marginal work, near ties to the coldest cache.

    The second endpoint picked is where the proxy retries when the first refuses the connection. If endpoints of *pools* say by label that
    they publish KV events, what those tell counts too; an index of *before* is kept.
    """
    scheduler = Scheduler.of(
        scorers=(Weighted(MarginalWorkScorer.type, MarginalWorkScorer(), 1.0),),
        picker=NearTiePicker(max_num_of_endpoints=2),
    )
    if not any(PORT_LABEL in endpoint.labels for pool in pools for endpoint in pool.endpoints):
        return scheduler
    return msgspec.structs.replace(scheduler, plugins=_exact(before.by_name if before is not None else {}))


def _exact(known: Mapping[str, Any]) -> Instances:
    """Return what makes the exact index: tokens that the endpoints say, and the events of those that have a label."""
    events = KvEventsConfig(pod_discovery_config=Discovery(socket_port=0))
    producers = (
        TokenProducer(endpoints=PoolServers()),
        PrecisePrefixCacheProducer(kv_events_config=events, speculative_indexing=True),
    )
    # As between two configurations: what a plugin has learned is no field.
    plugins = {each.type: known[each.type] if known.get(each.type) == each else each for each in producers}
    return instances.of(plugins, tuple((name,) for name in plugins))
