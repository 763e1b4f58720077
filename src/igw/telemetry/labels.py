"""Which labels a request has on the metrics page: its own where they are bounded, else `other`. What is written under them is not known here.

Models that the configuration or the servers name always have their own. Of what only clients name, combinations have a place by their
successful answers (`igw.telemetry.places`), so invented names push nobody out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from igw.request import Request
from igw.telemetry.places import Places

DEFAULT_FLOW = "default-flow"
"""The fairness id of requests without one (upstream's name)."""
OTHER = "other"
NAMES = ("model_name", "target_model_name", "fairness_id", "priority")
"""Upstream's names of the labels, in the order of `Labels`."""
CHOSEN = frozenset(NAMES[:3])
"""Those whose values clients choose; priorities are the configuration's."""

Labels: TypeAlias = tuple[str, str, str, str]
Forgotten: TypeAlias = Callable[[Mapping[str, str]], None]
"""Told of label values of which no series is needed any more: of those series that have these of `CHOSEN`, and no others of it."""
_Key: TypeAlias = tuple[str, str, str, int]
_Pair: TypeAlias = tuple[str, str]

_MOST_COMBINATIONS = 2_000
_MOST_PAIRS = 100
"""Of models and targets that nobody but clients names, where series are by endpoint too."""
_MOST_FLOWS = 1_000


class RequestLabels:
    """Owner of what is named."""

    def __init__(self, forgotten: Forgotten, most: int = _MOST_COMBINATIONS) -> None:
        self._places: Places[_Key] = Places(most)
        self._pairs: Places[_Pair] = Places(_MOST_PAIRS)
        self._flows: Places[str] = Places(_MOST_FLOWS)
        self._known: dict[_Key, Labels] = {}
        self._named: dict[_Key, Labels] = {}
        self._known_by: dict[str, frozenset[str]] = {}
        self._models = frozenset(("",))
        self._forgotten = [forgotten]

    def listen(self, forgotten: Forgotten) -> None:
        """Tell *forgotten* too."""
        self._forgotten.append(forgotten)

    def know(self, by: str, models: Iterable[str]) -> None:
        """Let *models* have their own labels, whatever clients do; those that *by* named before, and nobody else does, no more."""
        self._known_by[by] = frozenset(models)
        found = frozenset(("",)).union(*self._known_by.values())
        if found == self._models:
            return
        gone, self._models = self._models - found, found
        for key, labels in list(self._known.items()):
            if labels[0] in gone or labels[1] in gone:
                del self._known[key]
                self._tell(dict(zip(NAMES, labels, strict=True)))
                self._tell_of_pair(labels[:2])

    def of(self, request: Request) -> Labels:
        """Return the labels of *request*."""
        key = (request.model, request.target_model, request.fairness_id, request.priority)
        return self._known.get(key) or self._named.get(key) or self._resolved(key, request)

    def pair(self, request: Request) -> _Pair:
        """Return its model and the one that the server is asked for, as labels where series are by something else too."""
        pair = (request.model, request.target_model or request.model)
        return pair if self._is_known(request, pair) or self._pairs.seen(pair) else (OTHER, OTHER)

    def flow(self, fairness_id: str) -> str:
        """Return the label for a fairness id alone."""
        return fairness_id if fairness_id == DEFAULT_FLOW or self._flows.seen(fairness_id) else OTHER

    def answered(self, request: Request) -> None:
        """Note that *request* was answered successfully: its names are not, or not only, invented."""
        key = (request.model, request.target_model, request.fairness_id, request.priority)
        if key in self._known:
            return
        if (displaced := self._places.answered(key)) is not None:
            labels = self._named.pop(displaced, None)
            if labels is not None:
                self._tell(dict(zip(NAMES, labels, strict=True)))
        pair = (request.model, request.target_model or request.model)
        if not self._is_known(request, pair) and (gone := self._pairs.answered(pair)) is not None:
            self._tell_of_pair(gone)
        flow = request.fairness_id
        if flow and (idle := self._flows.answered(flow)) is not None:
            self._tell({"fairness_id": idle})

    def _is_known(self, request: Request, pair: _Pair) -> bool:
        # A client may ask for any target by header: pairs that no rule makes are none of the configuration's.
        plain = not request.target_model or pair[0] == pair[1] or request.rewritten_by is not None
        return plain and pair[0] in self._models and pair[1] in self._models

    def _resolved(self, key: _Key, request: Request) -> Labels:
        model, target = request.model, request.target_model or request.model
        flow, priority = request.fairness_id or DEFAULT_FLOW, str(request.priority)
        labels = (model, target, flow, priority)
        known = self._is_known(request, (model, target))
        if known and flow == DEFAULT_FLOW:
            self._known[key] = labels
            return labels
        if self._places.seen(key):
            self._named[key] = labels
            return labels
        shared = flow if flow == DEFAULT_FLOW else OTHER
        return (model, target, shared, priority) if known else (OTHER, OTHER, shared, priority)

    def _tell_of_pair(self, pair: _Pair) -> None:
        self._tell(dict(zip(NAMES[:2], pair, strict=True)))
        for name, model in zip(NAMES[:2], pair, strict=True):
            if model not in self._models:  # else others have it, or may
                self._tell({name: model})

    def _tell(self, values: Mapping[str, str]) -> None:
        for forgotten in self._forgotten:
            forgotten(values)
