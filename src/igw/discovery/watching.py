"""A cluster as the source of pools: follows Pods and our objects, and tells of changes together. What they mean is `cluster`'s business."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from lightkube.config.kubeconfig import SingleConfig
from prometheus_client.core import Metric

from igw.config.decode import nearest
from igw.config.documents import Document
from igw.config.manifests import Manifests
from igw.discovery import files
from igw.discovery.cluster import ClusterView, Scope
from igw.discovery.observed import collect
from igw.discovery.reporting import Reporting, ReportSettings
from igw.discovery.source import FileSource, Found, OnError, OnFound, PickerConfigFile, Source
from igw.errors import ConfigError
from igw.kubernetes.client import connection
from igw.kubernetes.kinds import OBJECTIVES, PODS, REWRITES, Kind
from igw.kubernetes.mirror import Pace
from igw.kubernetes.objects import Pod, Stored, pod, stored
from igw.kubernetes.reflector import Reflector, Selection

log = structlog.get_logger("discovery")

_GATHER_SECONDS = 0.02
"""How long changes are gathered before they are told: an update of many Pods comes as one."""
_REST = 4.0
"""Telling rests so many times as long as it took, so that it takes a fifth of the time at most."""
_MOST_REST_SECONDS = 1.0


class ClusterSettings(msgspec.Struct, frozen=True):
    """Which cluster, and what of it."""

    config: SingleConfig
    """Whom to ask, and as whom."""
    scope: Scope
    pod_labels: str = ""
    """A label selector: only such Pods are followed; needed for a pool that the cluster has no object of."""
    pace: Pace = Pace()
    report: ReportSettings | None = None
    """Who tells the cluster what is true of its objects; None: nobody does."""


def source(
    paths: Sequence[Path], cluster: ClusterSettings | None, config_file: Path | None, config_text: str
) -> Source:
    """Return what tells of pools: the *cluster*, else files. An `EndpointPickerConfig` is in a file or given as text anyway.

    Raises:
        ConfigError: the cluster's credentials cannot be used.
    """
    config = PickerConfigFile(config_file, config_text)
    return ClusterSource(cluster, config) if cluster is not None else FileSource(paths, config)


class ClusterSource:
    """The Pods, pools, objectives and rewrites of one namespace."""

    def __init__(self, settings: ClusterSettings, config: PickerConfigFile) -> None:
        self.complete = asyncio.Event()
        self._settings = settings
        self._config = config
        self._http = connection(settings.config)
        self._view = ClusterView(settings.scope)
        self._picker_config: Document | None = None
        self._reflectors = self._followed()
        self._reporting: Reporting | None = None
        if settings.report is not None:
            mirrors = {
                each.selection.kind: each.mirror
                for each in self._reflectors
                if each.selection.kind is not PODS
            }
            self._reporting = Reporting(self._http, self._view, mirrors, settings.report, settings.pace)
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()
        self._told = Found(Manifests(), {})

    def read(self) -> Found:
        """Return the picker's configuration; of the cluster nothing is known yet."""
        self._told = Found(self._config.into(Manifests()), {})
        self._picker_config = self._told.manifests.picker_config
        return self._told

    async def watch(self, known: Found, on_found: OnFound, on_error: OnError, stop: asyncio.Event) -> None:
        """Follow the cluster, and the file with the picker's configuration."""
        self._told = known
        config, scope = self._settings.config, self._settings.scope
        log.info(
            "following",
            server=config.cluster.server,
            namespace=scope.namespace,
            pool=scope.pool_name or "all",
        )
        async with self._http, asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run()) for each in self._reflectors]
            tasks.append(group.create_task(self._tell_changes(on_found, on_error)))
            if self._reporting is not None:
                tasks.append(group.create_task(self._reporting.run()))
            if self._config.paths:
                group.create_task(self._watch_config(on_found, on_error, stop))
            await stop.wait()
            for task in tasks:
                task.cancel()

    def collect(self) -> Iterable[Metric]:
        """Yield how every watch does, and what of the cluster is not in force."""
        if self._reporting is None:
            return collect(self._reflectors, self._told.refusals)
        reflectors = (*self._reflectors, *self._reporting.reflectors)
        return (*collect(reflectors, self._told.refusals), *self._reporting.collect())

    def _followed(self) -> list[Reflector[Any]]:
        """Return who follows what; without Pods and pools there is nothing to serve."""
        scope, http = self._settings.scope, self._http
        pods = Selection(PODS, scope.namespace, self._settings.pod_labels)
        pace = self._settings.pace
        found: list[Reflector[Any]] = [Reflector(http, pods, pod, self._pods, pace=pace, needed=True)]
        for kind in (*((scope.pools,) if scope.standing is None else ()), *OBJECTIVES, *REWRITES):
            selection, told = Selection(kind, scope.namespace), partial(self._objects, kind)
            needed = kind is scope.pools
            found.append(Reflector(http, selection, stored(kind), told, pace=pace, needed=needed))
        return found

    def _pods(self, changes: Mapping[str, Pod | None]) -> None:
        self._view.pods(changes)
        self._changed.set()

    def _objects(self, kind: Kind, changes: Mapping[str, Stored | None]) -> None:
        self._view.objects(kind, changes)
        self._changed.set()

    async def _tell_changes(self, on_found: OnFound, on_error: OnError) -> None:
        """Tell nothing before all is known: half of the objects would mean something else."""
        for each in self._reflectors:
            await each.settled.wait()
        self._changed.set()
        said, trouble = False, ""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            began = time.monotonic()
            try:
                await self._tell(on_found)
            except ConfigError as error:
                if str(error) != trouble:
                    on_error(error)
                trouble = str(error)
            else:
                if self._reporting is not None:
                    self._reporting.look()
            if self._pool_is_there():
                self.complete.set()
            elif not said:
                said = True
                self._say_no_pool()
            await asyncio.sleep(min(_MOST_REST_SECONDS, _REST * (time.monotonic() - began)))

    async def _tell(self, on_found: OnFound) -> None:
        async with self._telling:
            self._changed.clear()
            found = self._with_config(self._view.found())
            for refusal in set(found.refusals) - set(self._told.refusals):
                log.warning("object_refused", **msgspec.structs.asdict(refusal))
            if found != self._told:
                answer = on_found(found)
                if inspect.isawaitable(answer):
                    await answer
            self._told = found

    async def _watch_config(self, on_found: OnFound, on_error: OnError, stop: asyncio.Event) -> None:
        async def changed(manifests: Manifests) -> None:
            before, self._picker_config = self._picker_config, manifests.picker_config
            try:
                await self._tell(on_found)
            except ConfigError:
                self._picker_config = before
                raise

        known = Manifests(picker_config=self._picker_config)
        reading = partial(self._config.into, Manifests())
        await files.watch(self._config.paths, changed, on_error, stop, known, reading)

    def _with_config(self, found: Found) -> Found:
        manifests = msgspec.structs.replace(found.manifests, picker_config=self._picker_config)
        # Equal manifests are the same object, so that who is told sees at a glance that only Pods changed.
        same = self._told.manifests == manifests
        return msgspec.structs.replace(found, manifests=self._told.manifests if same else manifests)

    def _pool_is_there(self) -> bool:
        scope = self._settings.scope
        return not scope.pool_name or f"{scope.namespace}/{scope.pool_name}" in self._told.pools

    def _say_no_pool(self) -> None:
        scope = self._settings.scope
        key, known = f"{scope.namespace}/{scope.pool_name}", self._view.seen_pools
        hint = (
            nearest(key, known)
            if known
            else f"`kubectl get {scope.pools.resource} -A` says where there are some"
        )
        log.warning("no_such_pool", pool=key, resource=scope.pools.resource, hint=hint)


_: type[Source] = ClusterSource
