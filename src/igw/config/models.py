"""The shapes of what is said about models: InferenceModelRewrite, InferenceObjective, and InferenceModel, which they replaced.

Limits are those of the CRDs, and those that upstream has in prose only. Which rule decides about a request is `igw.routing`'s business.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta

from igw.config.decode import decode
from igw.config.documents import Document
from igw.config.durations import seconds
from igw.config.gateway_api import Name, Object, Shape
from igw.errors import ConfigError

STICKY_BY = "igw.dev/sticky-by"
"""InferenceModelRewrite annotation: what requests have in common that get the same target; drawn for each request without it."""

WEIGHT = "igw.dev/weight"
"""InferenceObjective annotation: how much more than others of its priority a tenant gets when all want more than there is."""

QUEUE_TTL = "igw.dev/queue-ttl"
"""InferenceObjective annotation: how long its requests may wait for a place."""

STICKY = ("conversation", "session", "fairness-id", "header:NAME")
"""Its values; NAME stands for a header."""

MODEL_VERSIONS = ("llm-d.ai/v1alpha2", "inference.networking.x-k8s.io/v1alpha2")
OLD_MODEL_VERSIONS = ("inference.networking.x-k8s.io/v1alpha2", "inference.networking.x-k8s.io/v1alpha1")
POOL_GROUP = "inference.networking.k8s.io"

_STICKY = re.compile(r"conversation|session|fairness-id|header:[A-Za-z0-9!#$%&'*+\-.^_`|~]+")

Weight = Annotated[int, Meta(ge=1, le=1_000_000)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class PoolRef(Shape, frozen=True):
    """The pool an object is about, of its own namespace."""

    name: Name
    group: str = POOL_GROUP
    kind: str = "InferencePool"


class ModelMatch(Shape, frozen=True):
    """A model's name as clients write it."""

    value: Annotated[str, Meta(min_length=1)]
    type: Literal["Exact"] = "Exact"


class Match(Shape, frozen=True):
    """What a request must be like."""

    model: ModelMatch


class Target(Shape, frozen=True):
    """A model to ask the server for, and its share of the requests."""

    model_rewrite: str
    """Empty: as the client wrote it."""
    weight: Weight | None = None


class RewriteRule(Shape, frozen=True):
    """Requests that fit any of *matches* (all, if there are none) are for one of *targets*."""

    matches: tuple[Match, ...] = ()
    targets: tuple[Target, ...] | None = None
    split: tuple[Target, ...] | None = None
    """What `targets` was called in GIE v1.2."""

    @property
    def chosen_from(self) -> tuple[Target, ...]:
        """The targets, whatever they are called."""
        return self.targets or self.split or ()


class RewriteSpec(Shape, frozen=True):
    """`spec` of an InferenceModelRewrite."""

    pool_ref: PoolRef
    rules: tuple[RewriteRule, ...]


class InferenceModelRewrite(Object, frozen=True, kw_only=True):
    """Which models the requests of a pool are for, whatever their clients wrote."""

    spec: RewriteSpec

    @property
    def pool(self) -> str:
        """`namespace/name` of its pool."""
        return f"{self.namespace}/{self.spec.pool_ref.name}"

    @property
    def models(self) -> set[str]:
        """Every model that it names."""
        rules = self.spec.rules
        written = {match.model.value for rule in rules for match in rule.matches}
        return (written | {target.model_rewrite for rule in rules for target in rule.chosen_from}) - {""}

    @property
    def sticky_by(self) -> str:
        """One of `STICKY`; empty: every request is drawn anew."""
        return self.metadata.annotations.get(STICKY_BY, "")

    @property
    def created(self) -> float:
        """Seconds since 1970; infinite where nobody says, as in files."""
        return created(self)


class ObjectiveSpec(Shape, frozen=True):
    """`spec` of an InferenceObjective."""

    pool_ref: PoolRef
    priority: Int32 = 0
    """Higher is served first; below 0 it may be shed."""


class InferenceObjective(Object, frozen=True, kw_only=True):
    """A priority that requests can ask for by the object's name."""

    spec: ObjectiveSpec

    @property
    def pool(self) -> str:
        """`namespace/name` of its pool."""
        return f"{self.namespace}/{self.spec.pool_ref.name}"

    @property
    def weight(self) -> float:
        """Its share among tenants of the same priority.

        Raises:
            ConfigError: the annotation is no number above 0.
        """
        written = self.metadata.annotations.get(WEIGHT, "1")
        try:
            weight = float(written)
        except ValueError:
            weight = 0.0
        if not 0 < weight < math.inf:
            raise ConfigError(WEIGHT, f"{written!r} is no number above 0", "such as 2")
        return weight

    @property
    def queue_ttl_seconds(self) -> float | None:
        """How long its requests may wait for a place; None: as the picker's configuration says; 0: for ever.

        Raises:
            ConfigError: the annotation is no duration.
        """
        written = self.metadata.annotations.get(QUEUE_TTL)
        try:
            return None if written is None else seconds(written)
        except ValueError as error:
            raise ConfigError(QUEUE_TTL, str(error)) from error


class OldTarget(Shape, frozen=True):
    """One of `targetModels`; a weight of 0 was allowed in v1alpha1."""

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class OldPoolRef(Shape, frozen=True):
    """The pool of an InferenceModel, in the group that pools had then."""

    name: Name
    group: Literal["inference.networking.x-k8s.io", "inference.networking.k8s.io"] = (
        "inference.networking.x-k8s.io"
    )
    kind: Literal["InferencePool"] = "InferencePool"


class OldModelSpec(Shape, frozen=True):
    """`spec` of an InferenceModel."""

    model_name: Annotated[str, Meta(min_length=1, max_length=256)]
    pool_ref: OldPoolRef
    criticality: Literal["Critical", "Standard", "Sheddable"] | None = None
    target_models: Annotated[tuple[OldTarget, ...], Meta(max_length=10)] = ()


class InferenceModel(Object, frozen=True, kw_only=True):
    """A model's name, its targets and how much it matters (GIE v0.1 to v0.5)."""

    spec: OldModelSpec

    @property
    def created(self) -> float:
        """Seconds since 1970; infinite where nobody says."""
        return created(self)


def created(value: Object) -> float:
    """Return when *value* was created, in seconds since 1970; infinity where nobody says.

    Raises:
        ValueError: it is written, and no time.
    """
    written = value.metadata.creation_timestamp
    if written is None:
        return float("inf")
    when = written if isinstance(written, datetime) else datetime.fromisoformat(str(written))
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def rewrite(document: Document) -> InferenceModelRewrite:
    """Return what *document* says.

    Raises:
        ConfigError: it cannot be used; with file and path.
    """
    made = decode(document, InferenceModelRewrite)
    _check_created(document, made)
    for index, rule in enumerate(made.spec.rules):
        where = f"{document.source} $.spec.rules[{index}]"
        if rule.targets is not None and rule.split is not None:
            raise ConfigError(f"{where}.split", "is what `targets` was called: write one of them")
        for name, targets in (("targets", rule.targets), ("split", rule.split)):
            if targets is not None:
                _check_targets(targets, f"{where}.{name}")
    if STICKY_BY in made.metadata.annotations and not _STICKY.fullmatch(made.sticky_by):
        raise ConfigError(
            f"{document.source} $.metadata.annotations[{STICKY_BY}]",
            f"`{made.sticky_by}` is not allowed here",
            "known: " + ", ".join(STICKY),
        )
    return made


def _check_targets(targets: tuple[Target, ...], where: str) -> None:
    if not targets:
        raise ConfigError(
            where, "there is no target", "name one, or leave the field out to keep the model's name"
        )
    unweighted = [index for index, target in enumerate(targets) if target.weight is None]
    if unweighted and len(unweighted) < len(targets):
        raise ConfigError(
            f"{where}[{unweighted[0]}].weight",
            "is missing, while other targets of the rule have one",
            "write all weights of a rule, or none",
        )


def objective(document: Document) -> InferenceObjective:
    """Return what *document* says.

    Raises:
        ConfigError: it cannot be used; with file and path.
    """
    return decode(document, InferenceObjective)


def old_model(document: Document) -> InferenceModel:
    """Return what an InferenceModel says.

    Raises:
        ConfigError: it cannot be used; with file and path.
    """
    made = decode(document, InferenceModel)
    _check_created(document, made)
    weighted = [target.weight is not None for target in made.spec.target_models]
    if any(weighted) and not all(weighted):
        raise ConfigError(
            f"{document.source} $.spec.targetModels[{weighted.index(False)}].weight",
            "is missing, while other targets have one",
            "write all weights, or none",
        )
    return made


def _check_created(document: Document, made: Object) -> None:
    try:
        created(made)
    except ValueError:
        raise ConfigError(
            f"{document.source} $.metadata.creationTimestamp",
            f"`{made.metadata.creation_timestamp}` is not a time",
            "such as 2026-01-31T12:00:00Z",
        ) from None
