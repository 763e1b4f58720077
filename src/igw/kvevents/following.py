"""Which engines each exact prefix producer of the configuration listens to, and what can be measured of it. Sockets are in `listening`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.kvevents.listening import KvEvents
from igw.kvevents.settings import Curve, EventSettings
from igw.prefix.doubts import Doubt
from igw.scheduling.producers.precise_prefix_cache import (
    CurveFiles,
    KvEventsConfig,
    PrecisePrefixCacheProducer,
)

log = structlog.get_logger("kvevents")


class Following:
    """Listens for the producers there are now. Owner of their `KvEvents`."""

    def __init__(self) -> None:
        self._listening: dict[str, tuple[PrecisePrefixCacheProducer, KvEvents | None]] = {}

    async def follow(
        self, plugins: Mapping[str, Any], endpoints: Iterable[Endpoint], group: asyncio.TaskGroup
    ) -> None:
        """Listen to *endpoints* for exactly the exact prefix producers among *plugins*.

        What cannot be used is logged: a picker without events routes by what it believes.
        """
        wanted = {
            name: plugin for name, plugin in plugins.items() if isinstance(plugin, PrecisePrefixCacheProducer)
        }
        for name, (producer, events) in list(self._listening.items()):
            if wanted.get(name) is not producer:
                del self._listening[name]
                if events is not None:
                    await events.close()
        ends = tuple({endpoint.hostport: endpoint for endpoint in endpoints}.values())
        for name, producer in wanted.items():
            if name not in self._listening:
                producer.doubts.report = _report
                self._listening[name] = (producer, _opened(producer, group))
            _, events = self._listening[name]
            if events is not None:
                events.follow(ends, group)

    async def close(self) -> None:
        """Stop listening."""
        for _, events in self._listening.values():
            if events is not None:
                await events.close()
        self._listening.clear()

    def collect(self) -> Iterable[Metric]:
        """Yield what was heard, what is known and what is doubtful."""
        heard = CounterMetricFamily(
            "igw_kv_events", "KV events taken in, by endpoint.", labels=("plugin_name", "endpoint")
        )
        incidents = CounterMetricFamily(
            "igw_kv_event_incidents",
            "Replays asked for, gaps that nobody could fill, restarts of engines, messages and events of no known form.",
            labels=("plugin_name", "endpoint", "incident"),
        )
        whole = GaugeMetricFamily(
            "igw_kv_events_whole",
            "1 where everything an engine told since its start is known, so that nothing needs to be guessed.",
            labels=("plugin_name", "endpoint"),
        )
        doubts = GaugeMetricFamily(
            "igw_exact_prefix_doubts",
            "1 for each reason why the exact prefix index may be useless; the log has the cure.",
            labels=("plugin_name", "kind", "endpoint"),
        )
        size = GaugeMetricFamily(
            "igw_exact_prefix_bytes", "Memory of the exact prefix index.", labels=("plugin_name",)
        )
        blocks = GaugeMetricFamily(
            "igw_exact_prefix_blocks", "Blocks in the exact prefix index.", labels=("plugin_name",)
        )
        left_out = CounterMetricFamily(
            "igw_exact_prefix_left_out",
            "Blocks whose parent is not known, of kinds that say nothing of a prefix, for which there was no room; events that"
            " contradict themselves.",
            labels=("plugin_name", "reason"),
        )  # fmt: skip
        for name, (producer, events) in self._listening.items():
            for endpoint, each in events.statistics().items() if events is not None else ():
                heard.add_metric((name, endpoint), each.events)
                whole.add_metric((name, endpoint), float(each.whole))
                for incident in ("replays", "gaps", "restarts", "unreadable"):
                    incidents.add_metric((name, endpoint, incident), getattr(each, incident))
            for doubt in producer.doubts.standing:
                doubts.add_metric((name, doubt.kind, doubt.endpoint), 1.0)
            if events is not None and events.strangers:
                doubts.add_metric((name, "strangers", ""), 1.0)
            statistics = producer.index.statistics()
            size.add_metric((name,), statistics.size_bytes)
            blocks.add_metric((name,), statistics.blocks)
            for reason in ("orphans", "skipped", "refused", "malformed"):
                left_out.add_metric((name, reason), getattr(statistics, reason))
        yield from (heard, incidents, whole, doubts, size, blocks, left_out)
        yield from self._as_upstream()

    def _as_upstream(self) -> Iterable[Metric]:
        """Yield what upstream has of it, under its names: in all, without saying whose it is."""
        indexes = [producer.index.statistics() for producer, _ in self._listening.values()]
        sources = [
            each
            for _, events in self._listening.values()
            if events is not None
            for each in events.statistics().values()
        ]
        for name, text, count in (
            (
                "index_admissions",
                "Blocks entered into exact prefix indexes.",
                sum(each.admitted for each in indexes),
            ),
            (
                "index_evictions",
                "Blocks that left them.",
                sum(each.admitted - each.entries for each in indexes),
            ),
            ("events_messages_received", "Messages with KV events.", sum(each.messages for each in sources)),
        ):
            family = CounterMetricFamily(f"llm_d_epp_kv_cache_{name}", text)
            if indexes:
                family.add_metric((), count)
            yield family
        subscribers = GaugeMetricFamily(
            "llm_d_epp_kv_cache_events_active_subscribers", "Engines that are listened to."
        )
        if indexes:
            subscribers.add_metric((), len(sources))
        yield subscribers


def _opened(producer: PrecisePrefixCacheProducer, group: asyncio.TaskGroup) -> KvEvents | None:
    config = producer.kv_events_config
    if not config.zmq_endpoint and not config.discover_pods:
        log.warning("kv_events_off", hint="write discoverPods: true or a zmqEndpoint in kvEventsConfig")
        return None
    try:
        events = KvEvents(event_settings(config), producer.index)
        events.open(group)
    except ConfigError as error:
        log.error("kv_events_unusable", where=error.where, problem=error.problem, hint=error.hint)  # noqa: TRY400
        return None
    return events


def event_settings(config: KvEventsConfig) -> EventSettings:
    """Return how engines are listened to by that part of a configuration.

    Raises:
        ConfigError: a file with a key cannot be read or holds none.
    """
    discovery = config.pod_discovery_config
    return EventSettings(
        # Upstream writes `*` as well as an address.
        config.zmq_endpoint,
        config.topic_filter,
        discovery.socket_port,
        discovery.replay_socket_port,
        _curve(config.curve) if config.curve is not None else None,
    )


def _curve(files: CurveFiles) -> Curve:
    server = _key(files.server_key_file, "serverKeyFile") if files.server_key_file else ""
    return Curve(
        _key(files.public_key_file, "publicKeyFile"), _key(files.secret_key_file, "secretKeyFile"), server
    )


def _key(path: str, field: str) -> str:
    where = f"kvEventsConfig.curve.{field}"
    try:
        key = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(where, f"{path} cannot be read: {error}") from error
    if len(key) != 40:
        raise ConfigError(
            where, f"{path} holds no key", "a key is 40 characters of Z85, as zmq_curve_keypair makes it"
        )
    return key


def _report(doubt: Doubt) -> None:
    log.warning("exact_prefix_doubtful", kind=doubt.kind, endpoint=doubt.endpoint or "all", cure=doubt.cure)
