"""What a scheduling plugin is. A plugin is a struct whose fields are its parameters, with one or more of these methods.

Everything is a column in candidate order, so nothing is wrapped, copied or looked up per endpoint. A plugin that keeps state between requests
may also have `decided` and `ended` (`Listener`); it is told of every request, whether or not a profile asked it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint
from igw.facts import Column, Facts
from igw.request import Request

Mask: TypeAlias = NDArray[np.bool_]
"""Shape: [candidates]."""


class HeaderProcessor(Protocol):
    """Finds out more of a request by its headers, before anything is decided (upstream's `RequestHeaderProcessor`)."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def process(self, request: Request, /) -> Request:
        """Return *request* with what was found out."""
        ...


class Filter(Protocol):
    """Leaves out candidates of one request."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def keep(self, request: Request, facts: Facts, /) -> Mask:
        """Return which candidates stay. Shape: [candidates]."""
        ...


class Scorer(Protocol):
    """Ranks the candidates of one request."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Return one score per candidate.

        Shape: [candidates], each in [0, 1]; 1 is best. What is outside is clamped, NaN counts as 0.
        """
        ...


class Picker(Protocol):
    """Takes endpoints from the ranked candidates."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def pick(self, totals: Column, facts: Facts, /) -> Sequence[int]:
        """Return indices of candidates, best first: the pick, then where to retry.

        Shape of *totals*: [candidates], weighted sums of scores. It may be written to.
        """
        ...


class Ranking(msgspec.Struct, frozen=True):
    """What one profile came to. Indices and columns are those of all candidates of the request, also of those left out."""

    picked: Sequence[int]
    """Best first."""
    scores: Mapping[str, Column]
    """Weighted, by plugin name; NaN for candidates that were left out."""
    left_out: Mapping[str, Sequence[int]] = {}
    """By the name of the filter that left them out."""


class ProfileHandler(Protocol):
    """Says which profiles a request runs, and which of them decides where it goes."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def choose(
        self, request: Request, profiles: Mapping[str, Any], done: Mapping[str, Ranking | None], /
    ) -> Sequence[str]:
        """Return the names of profiles to run next, none when there is nothing more to run.

        *done* has what earlier ones came to; None for a profile that left nobody.
        """
        ...

    def primary(self, request: Request, done: Mapping[str, Ranking | None], /) -> str:
        """Return the name of the profile whose pick is the destination."""
        ...


class Admitter(Protocol):
    """May turn a request away before it is ranked."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def admit(self, request: Request, facts: Facts, /) -> None:
        """Return if the request may go on; raise `Rejected` if not."""
        ...


class Deliverer(Protocol):
    """A plugin that says more with a pick than where it goes: headers for the model server or for the client."""

    def deliver(
        self,
        delivery: Delivery,
        request: Request,
        facts: Facts,
        picked: Sequence[int],
        done: Mapping[str, Ranking | None],
        /,
    ) -> Delivery:
        """Return *delivery* with what is to be added. *picked* are indices of candidates, *done* what each profile came to."""
        ...


class Producer(Protocol):
    """Finds out facts about one request before it is ranked.

    A class says by `provides` (and `needs`) which facts, by upstream's data types or names of its own; by `deadline_seconds` how long
    one request may wait for it, if `produce` is asynchronous; by `idle` that there is nothing to do for any request.
    """

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Return what was found out, by fact (see `Facts.knowing`); a fact that is not there is missing.

        *facts* has what the producers that it needs found out.
        """
        ...


class Screener(Protocol):
    """Leaves out endpoints before anything else is known of the request."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def screen(self, request: Request, endpoints: Sequence[Endpoint], /) -> Mask:
        """Return which endpoints may be candidates. Every screener sees the same ones. Shape: [endpoints]."""
        ...


class Listener(Protocol):
    """A plugin that is told what was decided and what became of it."""

    def decided(self, decision: Decision, /) -> None:
        """Take note of a pick; called inside it, before anything else can be decided."""
        ...

    def ended(self, decision: Decision, outcome: Any, /) -> None:
        """Take note of an end (`igw.outcomes.outcome.Outcome`)."""
        ...
