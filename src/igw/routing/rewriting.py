"""Which model a request is for, whatever its client wrote: the rewrites of one pool, compiled. Pure, but for the draw it is given.

How the name gets into the body is `igw.extproc.session`'s business.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import msgspec
import xxhash

from igw.config.models import InferenceModelRewrite, Target
from igw.request import Request
from igw.routing.objectives import either
from igw.routing.sticking import key_of

HEADER = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
"""The model to ask the server for; a rule that fits wins over it (upstream's order)."""


class Rule:
    """One rule: what it chooses from, and how."""

    def __init__(self, source: InferenceModelRewrite, index: int) -> None:
        rule = source.spec.rules[index]
        self.of = (source.key, index)
        """`namespace/name` of its object and its number there."""
        self.models = tuple(match.model.value for match in rule.matches)
        """The names it fits; none: all."""
        shares = _shares(rule.chosen_from)
        self.targets = tuple(shares)
        self._weights = tuple(shares.values())
        self._sums = tuple(accumulate(self._weights))
        self._sticky_by = source.sticky_by
        self._salt = source.key.encode()

    def choose(self, request: Request, draw: Callable[[], float]) -> str:
        """Return one of the targets: by what *request* shares with others where the rule is sticky, else by *draw* from [0, 1)."""
        if len(self.targets) == 1:
            return self.targets[0]
        key = key_of(request, self._sticky_by) if self._sticky_by else b""
        if not key:
            return self.targets[bisect(self._sums, draw() * self._sums[-1], hi=len(self._sums) - 1)]
        salted = xxhash.xxh3_128_digest(self._salt + b"\0" + key)
        return min(zip(self.targets, self._weights, strict=True), key=lambda each: _distance(salted, *each))[
            0
        ]


def _shares(targets: Sequence[Target]) -> Mapping[str, int]:
    """Return target -> weight, 1 each where none is written; a name that is written twice has both its weights."""
    shares: dict[str, int] = {}
    for target in targets:
        shares[target.model_rewrite] = shares.get(target.model_rewrite, 0) + (target.weight or 1)
    return shares


def _distance(key: bytes, target: str, weight: int) -> float:
    """Return how far *key* is from *target*: weighted rendezvous hashing, the least wins.

    Each is the least for its weight's share of all keys, and a weight that is raised takes keys from the others without moving any
    between them.
    """
    return -math.log((xxhash.xxh3_64_intdigest(key + target.encode()) + 0.5) / 2**64) / weight


class Rewrites:
    """The rules of one pool, in their order of precedence."""

    def __init__(
        self, sources: Sequence[InferenceModelRewrite], draw: Callable[[], float] = random.random
    ) -> None:
        """*sources*: what has precedence first, as `igw.discovery.snapshot.rewrites` returns them."""
        self._draw = draw
        self._exact: dict[str, Rule] = {}
        self._generic: Rule | None = None
        self.hidden: list[Rule] = []
        """Rules that can never decide, because others do so for all that they fit."""
        for rule in [Rule(each, index) for each in sources for index in range(len(each.spec.rules))]:
            new = [model for model in rule.models if model not in self._exact]
            self._exact.update(dict.fromkeys(new, rule))
            if not new and (rule.models or self._generic is not None):
                self.hidden.append(rule)
            elif not rule.models:
                self._generic = rule

    def rule(self, model: str) -> Rule | None:
        """Return the rule that decides about *model*: one that names it, else one that fits all."""
        return self._exact.get(model, self._generic)

    def choose(self, request: Request) -> tuple[str, tuple[str, int] | None]:
        """Return the target, empty if the name stays, and the rule that chose it (`Rule.of`)."""
        rule = self.rule(request.model)
        if rule is None or not rule.targets:
            return "", None
        return rule.choose(request, self._draw), rule.of


def rewritten(request: Request, rewrites: Rewrites | None) -> Request:
    """Return *request* for the model that its pool's *rewrites*, else its header, say.

    The same request, where nothing says another name or where the body has none that could be replaced.
    """
    if request.model_value is None:
        return request
    target, rule = rewrites.choose(request) if rewrites is not None else ("", None)
    target = target or either(request.head.headers, HEADER)
    if not target and rule is None:
        return request
    return msgspec.structs.replace(
        request,
        target_model="" if target == request.model else target,
        rewritten_by=rule,
        # The engine keeps what each of its models has cached apart.
        seed=(target or request.model).encode() + request.seed[len(request.model.encode()) :],
    )
