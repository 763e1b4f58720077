"""The product's endpoint picker without its wire: pools, index, ledger, correction, router and flow control, a policy as its scheduler.

Nothing is decided here. What the picker learns, and when, is told to it by `gateway` and `scrapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints, Rejected
from igw.flow.api import Dispatched, Effect, Failed
from igw.flow.engine import Engine
from igw.lab.clock import VirtualClock
from igw.lab.policies.api import Holding, Policy
from igw.lab.waiting import Waiting
from igw.outcomes.correction import Correction
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import Outcome
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.pools import Pools
from igw.routing.router import Router
from igw.work.promises import Promises

NAMESPACE, NAME = "default", "lab"
POOL = f"{NAMESPACE}/{NAME}"
"""The one pool of a run."""

_DEADLINE_SECONDS = 1800.0
"""As the product's reservations."""

Told = Callable[[Decision | None], None]
"""Told where a request goes; None: nowhere."""


class Picker:
    """One endpoint picker. `ledger` and `columns` may be read by others."""

    def __init__(
        self, policy: Policy | Holding, endpoints: tuple[Endpoint, ...], clock: VirtualClock
    ) -> None:
        holding = policy if isinstance(policy, Holding) else None
        policy = policy.policy if isinstance(policy, Holding) else policy
        self.prefix = PrefixIndex()
        self._learning = Learning(self._promises, clock)
        listeners: list[Callable[[Decision, Outcome], Any]] = [
            Correction(self.prefix, self._columns_of),
            self._learning,
        ]
        if (ended := getattr(policy, "ended", None)) is not None:
            listeners.append(ended)
        self.ledger = Ledger(_DEADLINE_SECONDS, listeners)
        self._pools = Pools(self.prefix, self.ledger)
        self._router = Router(self._pools, self.prefix, self.ledger, policy, clock)
        self._decided: Callable[[Decision], Any] | None = getattr(policy, "decided", None)
        self._first_token: Callable[[Decision], Any] | None = getattr(policy, "first_token", None)
        self.watches_answers: bool = getattr(policy, "watches_answers", False)
        """Whether the policy is told of first tokens in lean mode too: the router it comes from sees answers pass."""
        self._waiting: Waiting | None = None
        self.follow(endpoints)
        if holding is not None:
            self._router.detector = holding.detector
            # Told after everybody else of an end: who is asked next must see what has become free.
            self.ledger.listen(self._ended)
            engine = Engine(
                holding.flow, lambda: self._router.saturation(self.columns), endpoints=len(endpoints)
            )
            self._waiting = Waiting(engine, clock, self.promises.next_due)

    @property
    def columns(self) -> Columns:
        """The columns of the pool."""
        columns = self._pools.columns_of(POOL)
        if columns is None:
            raise NoEndpoints(f"no pool {POOL}")
        return columns

    @property
    def promises(self) -> Promises:
        """The work promised in the pool."""
        return self._pools.promises_of(self.columns)

    def follow(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Serve with exactly *endpoints* from now on."""
        self._pools.adopt({POOL: Pool(NAME, NAMESPACE, endpoints)})
        if self._waiting is not None:
            self._waiting.pool_changed(len(endpoints))

    def ask(self, request: Request, told: Told) -> None:
        """Find *request* its place; *told* is called once, now or when it has waited."""
        router, waiting = self._router, self._waiting
        if waiting is None or router.plugins.waits or not self.columns.pool.endpoints:
            self._ask_at_once(request, told)
            return
        try:
            claim = router.claim(router.asked(request), self.columns)
        except Rejected:
            told(None)
        else:
            waiting.place(router.item(claim), claim, partial(self._ask_ended, told))

    def _ask_at_once(self, request: Request, told: Told) -> None:
        try:
            decision = _at_once(self._router.route(request))
        except Rejected:
            told(None)
        else:
            self._decide(told, decision)

    def scraped(self) -> None:
        """Note that a server has said something."""
        if self._waiting is not None:
            self._waiting.scraped()

    def first_token(self, decision: Decision) -> None:
        """Note, and tell the policy if it wants to know, that an answer has begun."""
        self._learning.started(decision)
        if self._first_token is not None:
            self._first_token(decision)
        if self._waiting is not None:
            self._waiting.first_token(decision.id)

    def close(self, decision: Decision, outcome: Outcome) -> None:
        """Settle a reservation; one that has expired stays expired."""
        self.ledger.close(decision.id, outcome)

    def _ask_ended(self, told: Told, effect: Effect) -> None:
        if isinstance(effect, Failed) and not isinstance(effect.error, Rejected):
            raise effect.error
        if isinstance(effect, Dispatched):
            self._decide(told, effect.decision)
        else:
            told(None)

    def _decide(self, told: Told, decision: Decision) -> None:
        if self._decided is not None:
            self._decided(decision)
        told(decision)

    def _ended(self, decision: Decision, outcome: Outcome) -> None:
        usage, uncached = outcome.usage, None
        if usage.prompt_tokens is not None and usage.cached_tokens is not None:
            uncached = usage.prompt_tokens - usage.cached_tokens
        if self._waiting is not None:
            self._waiting.ended(decision.id, uncached, usage.completion_tokens)

    def _promises(self) -> Iterable[Promises]:
        return self._pools.promises()

    def _columns_of(self, key: str) -> Columns | None:
        return self._pools.columns_of(key)


def _at_once(route: Any) -> Decision:
    """Run a coroutine that does not wait to its end: there is no event loop in virtual time."""
    try:
        route.send(None)
    except StopIteration as done:
        decision: Decision = done.value
        return decision
    route.close()
    raise RuntimeError("route() waited for something: the lab can only drive it while it decides at once")
