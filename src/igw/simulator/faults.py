"""What can be made to go wrong on a server, when, and for which requests: for tests of whoever is in front of it.

Values and counting only. Who lets it happen is `sabotage`; how it looks over HTTP, `http.faulty`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

import msgspec

HangPoint = Literal["before-first-token", "after-first-token"]
MetricsPage = Literal["stalled", "stale", "missing"]

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Tokens = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="fault"):
    """One thing that goes wrong."""


class _Of(_Rule, frozen=True, kw_only=True):
    """The requests that a rule is for: those of the API, unless `path` is set to the beginning of other paths.

    `model` is the name that is asked for, a model's or an adapter's. Of the requests that match, a `share` is struck,
    evenly spread, until `count` were.
    """

    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    count: _Positive | None = None
    model: str | None = None
    path: str | None = None


class Refuse(_Of, frozen=True, tag="refuse"):
    """The connection is reset, nothing is answered."""


class Hang(_Of, frozen=True, tag="hang"):
    """Nothing more is sent until the faults change, and a request that hangs from the start never reaches the engine."""

    point: HangPoint = "before-first-token"


class Abort(_Of, frozen=True, tag="abort"):
    """The connection closes after that many tokens; of an answer that is not streamed nothing is seen then."""

    after_tokens: _Tokens = 0


class Delay(_Of, frozen=True, kw_only=True, tag="delay"):
    """The request is taken up later, by seconds that the server's speed does not shorten."""

    seconds: _Seconds


class Error(_Of, frozen=True, kw_only=True, tag="error"):
    """The answer is this status, with an error object."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)]


class Garbage(_Of, frozen=True, tag="garbage"):
    """What is sent as JSON is none: the answer, or each token of a stream."""


class Slow(_Rule, frozen=True, kw_only=True, tag="slow"):
    """Every step of the engine takes `factor` times as long; below 1 it is faster."""

    factor: Annotated[float, msgspec.Meta(gt=0)]


class Unready(_Rule, frozen=True, tag="unready"):
    """`/health` and the API answer 503."""


class Metrics(_Rule, frozen=True, kw_only=True, tag="metrics"):
    """The metrics page is never answered, stays as it was last shown, or is not found."""

    page: MetricsPage


Rule = Refuse | Hang | Abort | Delay | Error | Garbage | Slow | Unready | Metrics

KINDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Rule))
"""What may stand after `fault`."""


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All faults of one server at a time, set by `POST /igw/faults`; a body replaces all, so `{}` ends them.

    The first four fields are short for rules: `unready`; `abort_after_tokens`, with `once` for the next answer only;
    `delay_seconds`. Several rules may strike one request.
    """

    unready: bool = False
    abort_after_tokens: _Tokens | None = None
    once: bool = False
    delay_seconds: _Seconds = 0.0
    rules: tuple[Rule, ...] = ()

    def shorthand(self) -> list[Rule]:
        """Return the rules that the first four fields stand for."""
        rules: list[Rule] = [Unready()] if self.unready else []
        if self.abort_after_tokens is not None:
            rules.append(Abort(after_tokens=self.abort_after_tokens, count=1 if self.once else None))
        if self.delay_seconds:
            rules.append(Delay(seconds=self.delay_seconds))
        return rules


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The server starts anew: connections are cut, caches, counters and faults gone; 503 for `loading_seconds`."""

    loading_seconds: _Seconds = 0.0


class Planned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """New faults, or a restart, at a time or at a request; ValueError unless there is one of each two.

    `at_seconds` counts from the schedule's beginning in the server's time, so `speed` shortens it; `at_request` is the
    number of a request of the API since then, the first being 1. With `replica` only that server of several.
    """

    at_seconds: _Seconds | None = None
    at_request: _Positive | None = None
    faults: Faults | None = None
    restart: Restart | None = None
    replica: _Tokens | None = None

    def __post_init__(self) -> None:
        if (self.at_seconds is None) == (self.at_request is None):
            raise ValueError("say when: either at_seconds or at_request")
        if (self.faults is None) == (self.restart is None):
            raise ValueError("say what: either faults or restart")


class Failure(msgspec.Struct, frozen=True):
    """What goes wrong with one request: the rules that strike it, put together."""

    refuse: bool = False
    delay_seconds: float = 0.0
    error_status: int | None = None
    hang: HangPoint | None = None
    abort_after_tokens: int | None = None
    garbage: bool = False

    @property
    def every_token(self) -> bool:
        """Whether it strikes amid the tokens of an answer."""
        return self.abort_after_tokens is not None or self.hang == "after-first-token"


HEALTHY = Failure()


class _Live:
    """A rule in force, and how often it matched and struck."""

    def __init__(self, rule: Rule, *, short: bool) -> None:
        self.rule = rule
        self.short = short
        self._seen = self._struck = 0

    @property
    def left(self) -> Rule | None:
        """The rule with what remains of its count; None when that is used up."""
        if not isinstance(self.rule, _Of) or self.rule.count is None:
            return self.rule
        left = self.rule.count - self._struck
        return msgspec.structs.replace(self.rule, count=left) if left else None

    def strikes(self, path: str, model: str | None, *, api: bool) -> bool:
        """Count a request in; return whether the rule is for it."""
        rule = self.rule
        if not isinstance(rule, _Of) or self.left is None:
            return False
        if not (path.startswith(rule.path) if rule.path else api) or rule.model not in {None, model}:
            return False
        self._seen += 1
        # Of n requests floor(n * share) are struck, so a share of 0.25 strikes each fourth.
        if int(self._seen * rule.share + 1e-9) == int((self._seen - 1) * rule.share + 1e-9):
            return False
        self._struck += 1
        return True


class FaultState:
    """The faults in force and those to come; times are those of the caller's clock, `speed` that of the server."""

    def __init__(self, schedule: Iterable[Planned] = (), now: float = 0.0, speed: float = 1.0) -> None:
        self._speed = speed
        self._given = Faults()
        self._live: list[_Live] = []
        self.plan(schedule, now)

    @property
    def faults(self) -> Faults:
        """What is in force, without what was used up."""
        given = self._given
        if any(live.short and live.left is None for live in self._live):
            given = msgspec.structs.replace(given, abort_after_tokens=None, once=False)
        left = [live.left for live in self._live if not live.short]
        return msgspec.structs.replace(given, rules=tuple(rule for rule in left if rule is not None))

    def set(self, faults: Faults) -> None:
        """Replace all faults; counting begins anew."""
        self._given = faults
        self._live = [_Live(rule, short=True) for rule in faults.shorthand()]
        self._live += [_Live(rule, short=False) for rule in faults.rules]

    @property
    def schedule(self) -> list[Planned]:
        """What is still to come: by time, then by request, each in its order."""
        return [*self._by_time, *self._by_request]

    def plan(self, schedule: Iterable[Planned], now: float) -> None:
        """Replace the schedule; its seconds and its requests count from here."""
        self._began, self._requests = now, 0
        planned = list(schedule)
        # Stable, so that what is planned for the same moment happens in the order it is written in.
        self._by_time = sorted((p for p in planned if p.at_seconds is not None), key=_seconds_of)
        self._by_request = sorted((p for p in planned if p.at_request is not None), key=_request_of)

    def due_at(self) -> float | None:
        """Return when `advance` has something to do."""
        return self._began + _seconds_of(self._by_time[0]) / self._speed if self._by_time else None

    def advance(self, now: float) -> Restart | None:
        """Put into force what is due by now; a restart is returned, and what is due after it waits for the next call."""
        while (due := self.due_at()) is not None and due <= now:
            if restart := self._happen(self._by_time.pop(0)):
                return restart
        return None

    def arrive(self) -> Restart | None:
        """Count a request of the API and put into force what is planned for it; as `advance`."""
        self._requests += 1
        while self._by_request and _request_of(self._by_request[0]) <= self._requests:
            if restart := self._happen(self._by_request.pop(0)):
                return restart
        return None

    def failure(self, path: str, model: str | None, *, api: bool) -> Failure:
        """Return what goes wrong with one request; `api` tells whether it is one of the API."""
        struck = [live.rule for live in self._live if live.strikes(path, model, api=api)]
        if not struck:
            return HEALTHY
        aborts = [rule.after_tokens for rule in struck if isinstance(rule, Abort)]
        return Failure(
            refuse=any(isinstance(rule, Refuse) for rule in struck),
            delay_seconds=sum(rule.seconds for rule in struck if isinstance(rule, Delay)),
            error_status=next((rule.status for rule in struck if isinstance(rule, Error)), None),
            hang=next((rule.point for rule in struck if isinstance(rule, Hang)), None),
            abort_after_tokens=min(aborts, default=None),
            garbage=any(isinstance(rule, Garbage) for rule in struck),
        )

    @property
    def asks_for_models(self) -> bool:
        """Whether a rule depends on the model that is asked for."""
        return any(isinstance(live.rule, _Of) and live.rule.model is not None for live in self._live)

    @property
    def unready(self) -> bool:
        """Whether the server pretends to be unready."""
        return any(isinstance(live.rule, Unready) for live in self._live)

    @property
    def slow_factor(self) -> float:
        """How much longer than usual every step takes."""
        factor = 1.0
        for live in self._live:
            if isinstance(live.rule, Slow):
                factor *= live.rule.factor
        return factor

    @property
    def metrics(self) -> MetricsPage | None:
        """What is wrong with the metrics page."""
        return next((live.rule.page for live in self._live if isinstance(live.rule, Metrics)), None)

    def _happen(self, planned: Planned) -> Restart | None:
        # A server that starts anew knows nothing of what it was told to do wrong.
        self.set(planned.faults or Faults())
        return planned.restart


def of_replica(schedule: Iterable[Planned], number: int) -> tuple[Planned, ...]:
    """Return what concerns one of several servers, the first being 0."""
    return tuple(planned for planned in schedule if planned.replica in {None, number})


def _seconds_of(planned: Planned) -> float:
    return planned.at_seconds or 0.0


def _request_of(planned: Planned) -> int:
    return planned.at_request or 1
