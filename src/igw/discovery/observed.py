"""How following a cluster does, and telling it what is true, as metric families. What is followed is `watching`'s business, what is told `reporting`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from igw.discovery.source import Refusal
from igw.kubernetes.reflector import Reflector
from igw.kubernetes.status import Counts


def collect(reflectors: Iterable[Reflector[Any]], refusals: Iterable[Refusal]) -> Iterator[Metric]:
    """Yield how every watch does, and how many objects are not in force as they are written."""
    by = ("resource",)
    watching = GaugeMetricFamily(
        "igw_watch_open", "1 while changes in the cluster arrive as they happen.", labels=by
    )
    objects = GaugeMetricFamily("igw_watch_objects", "Objects that are known.", labels=by)
    lists = CounterMetricFamily(
        "igw_watch_lists",
        "Lists that were asked for, a page each: one at the start, more after trouble.",
        labels=by,
    )
    events = CounterMetricFamily("igw_watch_events", "Changes and bookmarks that watches told.", labels=by)
    failures = CounterMetricFamily("igw_watch_failures", "Lists and watches that failed.", labels=by)
    refused = GaugeMetricFamily(
        "igw_objects_refused",
        "Objects of which not everything is in force; the log says why.",
        labels=("kind",),
    )
    for each in reflectors:
        name = (each.selection.kind.resource,)
        watching.add_metric(name, float(each.watching))
        objects.add_metric(name, len(each.mirror.objects))
        lists.add_metric(name, each.counts.lists)
        events.add_metric(name, each.counts.events)
        failures.add_metric(name, each.counts.failures)
    for kind, count in Counter(each.kind for each in refusals).items():
        refused.add_metric((kind,), count)
    yield from (watching, objects, lists, events, failures, refused)


def reports(counts: Counts, dropped_events: int, *, leads: bool) -> Iterator[Metric]:
    """Yield who writes status, and how that does."""
    by = ("resource",)
    yield GaugeMetricFamily("igw_leader", "1 while this replica writes status.", value=float(leads))
    written = CounterMetricFamily("igw_status_writes", "Status and Events that were written.", labels=by)
    refused = CounterMetricFamily(
        "igw_status_write_failures", "Attempts to write status or Events that were refused.", labels=by
    )
    for family, by_resource in ((written, counts.written), (refused, counts.refused)):
        for resource, count in by_resource.items():
            family.add_metric((resource,), count)
        yield family
    yield CounterMetricFamily(
        "igw_events_dropped", "Events that would have been too many.", value=dropped_events
    )
