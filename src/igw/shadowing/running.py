"""One shadow as it runs: it looks at decisions until it fails, and is counted. When it looks is `shadowing`'s business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from igw.config.manifests import Manifests, with_picker_config
from igw.decision import Decision
from igw.errors import ConfigError, Rejected
from igw.facts import Facts
from igw.request import Request
from igw.routing.pricing import expected_ttft_seconds
from igw.shadowing.policy import Policy
from igw.shadowing.settings import Shadow
from igw.shadowing.standing import Row, Standing, Verdict, mean
from igw.telemetry.families import Families
from igw.work.promises import Promises

log = structlog.get_logger("shadows")

_MOST_CPU_SECONDS, _FIRST = 0.01, 10
"""A shadow that takes more in the mean, after so many decisions, is switched off: nobody decides meanwhile."""


class Moment(msgspec.Struct, frozen=True):
    """A decision and what it was made from, to be looked at after it."""

    request: Request
    facts: Facts
    """With costs. Columns are nobody else's."""
    picked: int
    """Index of the candidate that was chosen."""
    decision: Decision
    promises: Promises

    def ttft_seconds(self, index: int) -> float | None:
        """Return what is expected at the candidate *index*; None where nothing was learned yet, and for what has no first token."""
        if not self.promises.model.observations or self.request.generation is not None:
            return None
        return expected_ttft_seconds(self.request, self.facts, self.promises, index)


class Running:
    """Owner of one shadow's policy and standing."""

    def __init__(self, shadow: Shadow, families: Families, *, allow_experimental: bool) -> None:
        self.name, self.file = shadow.name, shadow.file
        self.off = ""
        self.in_force: Manifests | None = None
        """What its file said when that was last taken over."""
        self._allow_experimental = allow_experimental
        self._families = families
        self._policy: Policy | None = None
        self._refused_edit = ""
        self._standing = Standing(0.0)

    def read(self) -> Manifests:
        """Return its file: manifests of nothing but an `EndpointPickerConfig`.

        Raises:
            ConfigError: it cannot be used.
        """
        return with_picker_config(Manifests(), self.file)

    def use(self, manifests: Manifests, now: float) -> None:
        """Decide by what its file says from now on, and count anew.

        Raises:
            ConfigError: it cannot be used; then nothing has changed.
        """
        document = manifests.picker_config
        assert document is not None  # noqa: S101 (`read` sees to it)
        self._policy = Policy.of(document, self._policy, allow_experimental=self._allow_experimental)
        self.in_force, self.off, self._refused_edit = manifests, "", ""
        self.reset(now)

    def refuse(self, error: ConfigError) -> None:
        """Note an edit that cannot be used; what was in force still is."""
        self._refused_edit = str(error)
        log.error("edit_refused", shadow=self.name, where=error.where, problem=error.problem, hint=error.hint)

    def reset(self, now: float) -> None:
        """Count anew."""
        self._standing = Standing(now)

    def look(self, moment: Moment, active: Mapping[str, Any], cpu: Callable[[], float]) -> None:
        """Choose, and count what came of it."""
        if self._policy is None or self.off:
            return
        began, index = cpu(), None
        try:
            index = self._policy.choose(moment.request, moment.facts, active)
        except Rejected:
            pass  # it would have turned the request away: also a choice
        except Exception as error:
            self._fail(error)
            return
        took = cpu() - began
        self._count(_verdict(moment, index), took)
        self.told(Policy.decided, moment.decision)

    def told(self, tell: Callable[..., None], *event: Any) -> None:
        """Tell its plugins of something that really happened; *tell* is one of `Policy`'s methods."""
        if self._policy is None or self.off:
            return
        try:
            tell(self._policy, *event)
        except Exception as error:
            self._fail(error)

    def row(self, active: Mapping[str, Any], now: float) -> Row:
        """Return what a table says of it."""
        standing, policy = self._standing, self._policy
        return Row(
            self.name, policy.source if policy else str(self.file), self.off, self._refused_edit, now - standing.since,
            standing.decisions, standing.agreed, standing.refused, mean(standing.agreed, standing.decisions),
            standing.estimated, standing.faster, standing.slower, mean(standing.chosen_ttft_seconds, standing.estimated),
            mean(standing.shadow_ttft_seconds, standing.estimated), mean(standing.cpu_seconds, standing.decisions),
            policy.unfed(active) if policy else [], policy.remembers() if policy else [], list(reversed(standing.differing)),
        )  # fmt: skip

    def _count(self, verdict: Verdict, took: float) -> None:
        families, standing = self._families, self._standing
        standing.add(verdict, took)
        families.shadow_decisions_total.labels(self.name, verdict.agrees).inc()
        families.shadow_cpu_seconds_total.labels(self.name).inc(took)
        difference = verdict.difference_seconds
        if difference is not None:
            families.shadow_ttft_difference_seconds.labels(self.name).observe(difference)
            families.shadow_ttft_seconds_total.labels(self.name, "chosen").inc(
                verdict.chosen_ttft_seconds or 0.0
            )
            families.shadow_ttft_seconds_total.labels(self.name, "shadow").inc(
                verdict.shadow_ttft_seconds or 0.0
            )
        took = standing.cpu_seconds / standing.decisions
        if standing.decisions >= _FIRST and took > _MOST_CPU_SECONDS:
            self._switch_off(f"it takes {took * 1000:.0f} ms of CPU per decision")

    def _fail(self, error: Exception) -> None:
        log.exception("shadow_failed", shadow=self.name)
        self._switch_off(f"{type(error).__name__}, the log says where")

    def _switch_off(self, why: str) -> None:
        self.off = why
        log.error("shadow_switched_off", shadow=self.name, why=why, cure="edit its file")


def _verdict(moment: Moment, index: int | None) -> Verdict:
    endpoints, chosen = moment.facts.endpoints, moment.picked
    return Verdict(
        str(moment.decision.id),
        endpoints[chosen].hostport,
        "" if index is None else endpoints[index].hostport,
        moment.ttft_seconds(chosen),
        None if index is None else moment.ttft_seconds(index),
    )
