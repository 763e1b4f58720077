"""What one shadow decides by: a scheduler of its own and the producers that are run for it. What is counted of its choices is `standing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from igw.config.documents import Document
from igw.decision import Decision
from igw.facts import Facts
from igw.request import Request
from igw.routing.producing import screened
from igw.scheduling import configured
from igw.scheduling.instances import Producing
from igw.scheduling.producers.precise_prefix_cache import PrecisePrefixCacheProducer
from igw.scheduling.resolved import resolve
from igw.scheduling.scheduler import Scheduler


class Policy(msgspec.Struct, frozen=True):
    """A configuration that decides and is not followed. No plugin object is one of the active configuration's."""

    source: str
    """Where it was written."""
    scheduler: Scheduler

    @classmethod
    def of(
        cls, document: Document, before: Policy | None = None, *, allow_experimental: bool = False
    ) -> Policy:
        """Return the policy that *document* describes; plugins of *before* that are the same go on with what they have learned.

        Raises:
            ConfigError: a configuration that cannot be used.
        """
        resolved = resolve(document, allow_experimental=allow_experimental)
        known = before.scheduler.plugins if before is not None else None
        return cls(document.source, configured.built(resolved, known))

    def choose(self, request: Request, facts: Facts, active: Mapping[str, Any]) -> int:
        """Return the index of the candidate that it would have sent *request* to.

        *facts* are those of the decision, with all that *active*, the other configuration's plugins by name, have found out.

        Raises:
            Rejected: it would have turned the request away.
        """
        plugins = self.scheduler.plugins
        for processor in plugins.processors:
            request = processor.process(request)
        for each in self._run(active):
            found: Any = each.producer.produce(request, facts)
            facts = facts.knowing(each.name, found)
        if not plugins.screeners:
            return int(self.scheduler.pick(request, facts).picked[0])
        keep = screened(plugins.screeners, request, facts.endpoints)
        (rows,) = keep.nonzero()
        return int(rows[self.scheduler.pick(request, facts.narrowed(keep)).picked[0]])

    def decided(self, decision: Decision) -> None:
        """Tell its plugins where a request really goes."""
        for listener in self.scheduler.plugins.decided:
            listener(decision)

    def ended(self, decision: Decision, outcome: Any) -> None:
        """Tell its plugins how a request really went."""
        for listener in self.scheduler.plugins.ended:
            listener(decision, outcome)

    def left(self, hostport: str) -> None:
        """Tell its plugins that an endpoint left its pool."""
        for listener in self.scheduler.plugins.left:
            listener(hostport)

    def unfed(self, active: Mapping[str, Any]) -> list[str]:
        """Return the producers that are not run for it: they ask or hear others, and *active* has not the same ones. Their facts are missing."""
        return [each.name for each in self._own(active) if _asks_others(each)]

    def remembers(self) -> list[str]:
        """Return the plugins that go by earlier decisions."""
        by_name = self.scheduler.plugins.by_name
        hooked = {
            name: plugin
            for name, plugin in by_name.items()
            if hasattr(plugin, "decided") or hasattr(plugin, "ended")
        }
        return [name for name, plugin in hooked.items() if not getattr(plugin, "idle", False)]

    def _run(self, active: Mapping[str, Any]) -> Iterable[Producing]:
        return (each for each in self._own(active) if not _asks_others(each))

    def _own(self, active: Mapping[str, Any]) -> Iterable[Producing]:
        """Return the producers that *active* has not: what a same one found out is among the facts already."""
        return (
            each
            for level in self.scheduler.plugins.producers
            for each in level
            if active.get(each.name) != each.producer
        )


def _asks_others(each: Producing) -> bool:
    return each.waits or isinstance(each.producer, PrecisePrefixCacheProducer)
